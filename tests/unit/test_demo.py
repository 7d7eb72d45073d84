"""The demo's world: closed vocabulary, tasks that post-training never saw, fair scores."""

import json
import random
from itertools import islice

import pytest
import torch

from deltaedit.demo import language, training
from deltaedit.tasks import SHIPPED

WORLD = language.make_world()
TASKS = language.task_documents(WORLD)


def test_every_word_of_the_world_has_a_token(tokenizer):
    rng = random.Random(5)
    texts = list(islice(language.pretraining_documents(WORLD, rng), 5000))
    for example in islice(language.post_training_examples(WORLD, rng), 5000):
        texts.append(f"{example.prompt} {example.answer}")
    texts += [f"{d['prompt']} {d['answer']}" for documents in TASKS.values() for d in documents]
    encoded = tokenizer(texts).input_ids
    assert all(tokenizer.unk_token_id not in ids for ids in encoded)
    ids = tokenizer.get_vocab()
    for text, found in zip(texts, encoded, strict=True):
        assert found == [ids[word] for word in language.split_words(text)]


def test_post_training_never_sees_an_evaluation_prompt():
    examples = islice(language.post_training_examples(WORLD, random.Random(1)), 50_000)
    seen = {example.prompt for example in examples}
    for documents in TASKS.values():
        assert not seen & {document["prompt"] for document in documents}


def test_prompts_of_a_task_differ():
    for documents in TASKS.values():
        assert len({document["prompt"] for document in documents}) == len(documents) > 60


def test_the_shipped_tasks_are_the_world_s():
    for task, documents in TASKS.items():
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


def test_the_world_is_the_same_every_time():
    assert language.make_world() == WORLD
    assert language.task_documents(language.make_world()) == TASKS


def test_training_is_fixed_by_the_seed(monkeypatch, tmp_path):
    monkeypatch.setattr(training, "PRETRAINING_STEPS", 2)
    monkeypatch.setitem(training.SFT, "sft", (2, 5e-4))

    def stages(seed, folder):
        model, tokenizer = training.pretrain(seed)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        tuned, _ = training.fine_tune(folder, "sft", seed)
        return model.state_dict(), tuned.state_dict()

    first, again, other = (
        stages(seed, tmp_path / name) for seed, name in ((0, "a"), (0, "b"), (1, "c"))
    )
    for ours, same, different in zip(first, again, other, strict=True):
        assert all(torch.equal(ours[name], same[name]) for name in ours)
        assert not all(torch.equal(ours[name], different[name]) for name in ours)
    base, post = first
    changed = {name for name in base if not torch.equal(base[name], post[name])}
    assert changed == {name for name in base if "embed" not in name and "lm_head" not in name}
