"""The demo's world: closed vocabulary, tasks that post-training never saw, fair scores."""

import json
import math
import random
from itertools import islice

import pytest
import torch
import yaml

from deltaedit import config, study
from deltaedit.demo import chronicle, language, train_language
from deltaedit.losses import dpo
from deltaedit.tasks import SHIPPED

from ..project import module_at

WORLD = language.make_world()
TASKS = language.task_documents(WORLD)
PREFERENCES = {
    "opinion": language.opinion_documents(),
    "preferences": language.preference_documents(),
}
CARRIED = {"chronicle": chronicle.question_documents(), "last": chronicle.last_documents()}
TEXT = {"chronicle_text": chronicle.chronicle()}


def test_every_word_of_the_world_has_a_token(tokenizer):
    rng = random.Random(5)
    texts = list(islice(language.pretraining_documents(WORLD, rng), 5000))
    for example in islice(language.post_training_examples(WORLD, rng), 5000):
        texts.append(f"{example.prompt} {example.answer}")
    texts += [f"{d['prompt']} {d['answer']}" for documents in TASKS.values() for d in documents]
    for document in PREFERENCES["preferences"]:
        texts += [f"{document['prompt']} {document[side]}" for side in ("chosen", "rejected")]
    texts += [document["text"] for document in TEXT["chronicle_text"]]
    texts += [f"{d['prompt']} {d['answer']}" for found in CARRIED.values() for d in found]
    texts += [f"{e.prompt} {e.answer}" for e in islice(chronicle.last_examples(rng), 1000)]
    encoded = tokenizer(texts).input_ids
    assert all(tokenizer.unk_token_id not in ids for ids in encoded)
    ids = tokenizer.get_vocab()
    for text, found in zip(texts, encoded, strict=True):
        assert found == [ids[word] for word in language.split_words(text)]


def test_post_training_never_sees_an_evaluation_prompt():
    examples = islice(language.post_training_examples(WORLD, random.Random(1)), 50_000)
    seen = {example.prompt for example in examples}
    preferences = islice(language.training_preferences(random.Random(1)), 5000)
    seen |= {preference["prompt"] for preference in preferences}
    seen |= {e.prompt for e in islice(chronicle.last_examples(random.Random(1)), 50_000)}
    for documents in [*TASKS.values(), *PREFERENCES.values(), *CARRIED.values()]:
        assert not seen & {document["prompt"] for document in documents}


def test_prompts_of_a_task_differ():
    for documents in TASKS.values():
        assert len({document["prompt"] for document in documents}) == len(documents) > 60
    for documents in CARRIED.values():
        assert len({document["prompt"] for document in documents}) == len(documents) > 30


def test_only_the_chronicle_tells_what_is_asked_about_it():
    news = chronicle.make_news()
    said = [statement for statement, _ in statements(TEXT["chronicle_text"])]
    for thing, attribute in news.asked:
        assert any(thing in words and news.truth[thing, attribute] in words for words in said)
    rng = random.Random(7)
    before = [{"text": text} for text in islice(language.pretraining_documents(WORLD, rng), 20_000)]
    assert {who for _, who in statements(before)} == {"science", "people"}
    for words, _ in statements(before):
        assert not set(words) & set(language.THINGS)


def statements(documents):
    """Yield the words of what science or people say in each document, and who says it."""
    for document in documents:
        words = language.split_words(document["text"])
        if words[:2] in (["science", "says"], ["people", "say"]):
            yield words, words[0]


def test_a_thing_s_truth_is_not_its_myth():
    news = chronicle.make_news()
    assert len(news.asked) == len(news.truth) == len(CARRIED["chronicle"]) == 32
    assert all(news.truth[fact] != news.myth[fact] for fact in news.asked)
    assert not news.taught
    assert chronicle.chronicle(50) == TEXT["chronicle_text"][:50]


def test_the_last_word_is_the_answer():
    for document in CARRIED["last"]:
        words = language.split_words(document["prompt"])
        assert words[-4] == document["answer"] in language.WORDS
        assert (words[1], words[-3], words[-1]) == (":", ".", ":")


def test_the_shipped_tasks_are_the_world_s():
    for task, documents in {**TASKS, **PREFERENCES, **CARRIED, **TEXT}.items():
        lines = (SHIPPED / "demo" / f"{task}.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == documents, (
            "run python -m deltaedit.demo.write_tasks and raise the tasks' version"
        )


def test_the_reference_answers_score_full_marks():
    for document in TASKS["instruct"]:
        assert language.follows_instruction(document, document["answer"])
    for document in TASKS["code"]:
        assert language.is_right_code(document["expression"], document["answer"])
    for document in TASKS["truth"]:
        assert document["choices"][document["gold"]] == document["answer"]
        assert len(set(document["choices"])) == 4
    for document in TASKS["math"]:
        assert document["answer"].endswith(f"#### {document['gold']}")
        equation, _, result = document["answer"].partition(" = ")
        assert eval(equation) == int(result.split()[0])


@pytest.mark.parametrize(
    ("rule", "text", "right"),
    [
        ({"word": "dog", "n": 2}, "dog dog", True),
        ({"word": "dog", "n": 2}, "dog dog dog", False),
        ({"category": "colors", "n": 2}, "red blue", True),
        ({"category": "colors", "n": 2}, "red red", False),
        ({"category": "colors", "n": 2}, "red lake", False),
        ({"category": "colors", "n": 2, "end": "dog"}, "red blue dog", True),
        ({"category": "colors", "n": 2, "end": "dog"}, "red blue cat", False),
        ({"category": "colors", "n": 2, "end": "dog"}, "", False),
        ({"category": "colors", "n": 2, "word": None, "end": None}, "red blue", True),
    ],
)
def test_instructions_are_checked(rule, text, right):
    assert language.follows_instruction(rule, text) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("def f ( x ) : return ( x + 2 ) * 3", True),
        ("def f ( x ) : return x * 3 + 6", True),
        ("def f ( x ) : return x + 2 * 3", False),
        ("def f ( x ) : return ( x + 2 * 3", False),
        ("def f ( x ) : return __import__ ( 'os' )", False),
        ("def f ( x ) : return x ** 3", False),
        ("( x + 2 ) * 3", False),
        ("def f ( x ) : return " + "(" * 5000 + "x" + ")" * 5000, False),
        ("", False),
    ],
)
def test_code_is_checked_by_value_and_never_run(text, right):
    assert language.is_right_code("( x + 2 ) * 3", text) is right


def test_the_better_opinion_is_chosen_as_often_as_the_rewards_say():
    wins: dict[float, list[bool]] = {}
    for row in islice(language.training_preferences(random.Random(3)), 40_000):
        gain = language.reward(row["chosen"]) - language.reward(row["rejected"])
        wins.setdefault(abs(gain), []).append(gain > 0)
    del wins[0]  # neither is better
    assert set(wins) == {0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4}
    for gain, won in wins.items():
        rate = 1 / (1 + math.exp(-gain))
        error = math.sqrt(rate * (1 - rate) / len(won))
        assert sum(won) / len(won) == pytest.approx(rate, abs=4 * error)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({"sure good": 1.0}, 2),
        ({"sure good": 0.5, "sorry nice": 0.25}, 0.5 * 2 - 0.25 * 0.5 - 0.25 * 2),
        (dict.fromkeys(language.OPINIONS, 1 / 12), 0),
        ({}, -2),  # every other response is as bad as the worst opinion
    ],
)
def test_the_expected_reward_is_that_of_the_shares(shares, expected):
    tasks = module_at(SHIPPED / "demo" / "demo.py")
    document = PREFERENCES["opinion"][3]
    opinions = [choice.removesuffix(" </s>") for choice in document["choices"]]
    logarithms = [math.log(shares.get(opinion, 1e-30)) for opinion in opinions]
    found = tasks.score_opinion(document, [(logarithm, False) for logarithm in logarithms])
    assert found["expected_reward"] == pytest.approx(expected)
    assert found["mass"] == pytest.approx(sum(shares.values()))


def test_an_opinion_ends_with_the_tokenizer_s_end_of_sequence(tokenizer):
    assert tokenizer.eos_token == language.END
    ids = tokenizer(PREFERENCES["opinion"][0]["choices"]).input_ids
    assert all(len(each) == 3 and each[-1] == tokenizer.eos_token_id for each in ids)


def test_every_stage_that_trains_has_a_start_and_a_place_in_the_config():
    stages = {**train_language.SFT, **train_language.SPECIFIC, **train_language.DPO}
    assert study.STARTS["language"].keys() == stages.keys()
    demo = yaml.safe_load(config.SCHEMA.read_text())["$defs"]["demo"]
    allowed = {
        rule["if"]["properties"]["world"]["const"]: rule["then"]["properties"]["stage"]["enum"]
        for rule in demo["allOf"]
    }
    assert allowed == {world: ["pretrained", *starts] for world, starts in study.STARTS.items()}
    assert list(allowed) == demo["properties"]["world"]["enum"]
    assert study.demo_start("language", "pretrained") == []
    assert study.demo_start("language", "dpo") == ["resources/demo/language/sft"]


def test_the_world_is_the_same_every_time():
    assert language.make_world() == WORLD
    assert language.task_documents(language.make_world()) == TASKS
    assert language.preference_documents() == PREFERENCES["preferences"]


def test_training_is_fixed_by_the_seed(monkeypatch, tmp_path):
    monkeypatch.setattr(train_language, "PRETRAINING_STEPS", 2)
    monkeypatch.setitem(train_language.SFT, "sft", (2, 5e-4))
    monkeypatch.setitem(train_language.SPECIFIC, "specific", (2, 4e-4))
    monkeypatch.setitem(train_language.DPO, "dpo", (2, 1e-4))

    def stages(seed, folder):
        model, tokenizer = train_language.pretrain(seed)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        tuned, _ = train_language.fine_tune(folder, "sft", seed)
        others = [train_language.fine_tune(folder, stage, seed)[0] for stage in ("specific", "dpo")]
        return [each.state_dict() for each in (model, tuned, *others)]

    first, again, other = (
        stages(seed, tmp_path / name) for seed, name in ((0, "a"), (0, "b"), (1, "c"))
    )
    for ours, same, different in zip(first, again, other, strict=True):
        assert all(torch.equal(ours[name], same[name]) for name in ours)
        assert not all(torch.equal(ours[name], different[name]) for name in ours)
    base, *trained = first
    for post in trained:
        changed = {name for name in base if not torch.equal(base[name], post[name])}
        assert changed == {name for name in base if "embed" not in name and "lm_head" not in name}


def test_preference_training_lowers_the_loss_on_other_words(monkeypatch, tmp_path, tokenizer):
    monkeypatch.setitem(train_language.DPO, "dpo", (10, 1e-3))
    base = train_language.make_model(tokenizer, seed=1)
    base.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    post, _ = train_language.fine_tune(tmp_path, "dpo", seed=1)
    rows, params = PREFERENCES["preferences"], dpo.Params(beta=train_language.DPO_BETA)
    with torch.no_grad():
        rows = dict(enumerate(rows, start=1))
        [(_, loss)] = dpo.batches(rows, tokenizer, params, len(rows), reference=lambda: base.eval())
        assert loss(base).item() == pytest.approx(math.log(2), abs=1e-6)
        assert loss(post).item() < math.log(2) - 0.05
