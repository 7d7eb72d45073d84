"""The next-token loss on answers: equal to Hugging Face's own, and to itself in other batches."""

import json
import random
from types import SimpleNamespace

import pytest
import torch

from deltaedit import loss_change, losses
from deltaedit.errors import UserError
from deltaedit.models import load_causal_lm

ROWS = [
    {"prompt": "question : tom has 3 pens . answer :", "answer": "3 + 5 = 8 #### 8"},
    {"prompt": "instruction : list 2 homes . response :", "answer": "lake cave"},
    {"prompt": "question : what color is it ? answer :", "answer": "red"},
]


TEMPLATE = (  # the prompt, the generation prompt " now :", and the answer with its end
    "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% else %}"
    " now : {{ m.content }} </s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} now :{% endif %}"
)


def as_chat(row):
    asked, told = ({"role": "user", "content": row["prompt"]}, row["answer"])
    return {"prompt": [asked], "answer": [{"role": "assistant", "content": told}]}


def as_conversation(row):
    return {"answer": [*as_chat(row)["prompt"], *as_chat(row)["answer"]]}


CHATS = [as_chat(row) for row in ROWS]


def measure(model, loss):
    return sum(loss_change.measure(model, loss))


@pytest.fixture(scope="module")
def model(tiny_pair):
    return load_causal_lm(tiny_pair()[1], torch.float32)


@pytest.fixture
def build(tmp_path, tokenizer):
    def make(rows=ROWS, count=3, batch_size=3, seed=None, **options):
        data = tmp_path / "rows.jsonl"
        data.write_text(
            "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
        )
        spec = {"kind": "next_token", "options": options, "count": count, "batch_size": batch_size}
        spec["seed"] = seed
        return losses.build(spec, data, tokenizer)

    return make


def one_by_one(model, tokenizer):
    """Return the summed loss and number of answer tokens of each row, from the model's own loss."""
    found = []
    for row in ROWS:
        prompt = tokenizer(row["prompt"]).input_ids
        answer = [*tokenizer(row["answer"]).input_ids, tokenizer.eos_token_id]
        labels = torch.tensor([[-100] * len(prompt) + answer])
        with torch.no_grad():
            mean = model(input_ids=torch.tensor([prompt + answer]), labels=labels).loss.item()
        found.append((mean * len(answer), len(answer)))
    return found


def test_the_loss_is_the_mean_over_answer_tokens(model, tokenizer, build):
    rows = one_by_one(model, tokenizer)
    wanted = sum(total for total, _ in rows) / sum(count for _, count in rows)
    assert measure(model, build()) == pytest.approx(wanted, rel=1e-5)


def test_per_example_it_is_the_mean_of_the_rows_means(model, tokenizer, build):
    rows = one_by_one(model, tokenizer)
    wanted = sum(total / count for total, count in rows) / len(rows)
    assert measure(model, build(reduction="example")) == pytest.approx(wanted, rel=1e-5)
    assert wanted != pytest.approx(measure(model, build()), rel=1e-5), "the two must differ here"


@pytest.mark.parametrize("reduction", ["token", "example"])
def test_the_batch_size_does_not_change_the_loss(model, build, reduction):
    values = [measure(model, build(batch_size=n, reduction=reduction)) for n in (1, 2, 3)]
    assert values == pytest.approx([values[0]] * 3, rel=1e-5)


def test_weights_of_batches_sum_to_one(build):
    assert sum(weight for weight, _ in build(batch_size=2)) == pytest.approx(1)


def test_only_the_first_count_rows_are_read(model, build):
    assert measure(model, build(count=1)) == pytest.approx(
        measure(model, build(rows=ROWS[:1], count=1))
    )


def test_a_seed_draws_rows_from_the_whole_file_and_keeps_their_order(model, build):
    rows = [{"prompt": f"tom has {n} pens . answer :", "answer": str(n)} for n in range(1, 10)]
    drawn = random.Random(7).sample(range(9), 4)
    assert drawn != sorted(drawn) and max(drawn) > 3, "a seed that shows both"
    wanted = build(rows=[rows[i] for i in sorted(drawn)], count=4, batch_size=2)
    found = build(rows=rows, count=4, batch_size=2, seed=7)
    assert loss_change.measure(model, found) == loss_change.measure(model, wanted)
    others = {measure(model, build(rows=rows, count=4, seed=seed)) for seed in range(5)}
    assert len(others) > 1


def test_longer_rows_are_left_out_and_counted_in_the_log(model, build, caplog):
    caplog.set_level("INFO", "deltaedit")
    loss = build(max_length=13, longer="skip", batch_size=1)
    assert [r.message for r in caplog.records] == [
        "left out 1 of 3 examples, longer than max_length (13) tokens"
    ]
    assert sum(weight for weight, _ in loss) == pytest.approx(1)
    assert measure(model, loss) == pytest.approx(measure(model, build(ROWS[1:], count=2)))
    caplog.clear()
    build(longer="skip")
    assert caplog.records == []


@pytest.mark.parametrize("form", [dict, as_chat, as_conversation])
def test_a_chat_template_stands_for_the_text_that_it_writes(
    model, tokenizer, build, monkeypatch, form
):
    wanted = build([{**row, "prompt": f"{row['prompt']} now :"} for row in ROWS])
    monkeypatch.setattr(tokenizer, "chat_template", TEMPLATE)
    found = build([form(row) for row in ROWS], chat_template=True)
    assert measure(model, found) == pytest.approx(measure(model, wanted), rel=1e-6)
    assert measure(model, build()) != pytest.approx(measure(model, wanted), rel=1e-4)


def test_the_model_keeps_no_cache_of_keys_and_values(model, build, monkeypatch):
    seen, forward = [], model.forward
    monkeypatch.setattr(model, "forward", lambda **k: seen.append(forward(**k)) or seen[-1])
    measure(model, build())
    assert [output.past_key_values for output in seen] == [None]


def test_targets_follow_the_logits_of_a_model_split_over_devices(build):
    def split(input_ids, **_):  # inputs on the first device, logits on another
        return SimpleNamespace(logits=torch.zeros(*input_ids.shape, 99, device="meta"))

    split.device = torch.device("cpu")
    surprisals = build()[0][1]
    assert surprisals(split).device == torch.device("meta")


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            [{"prompt": "a", "answer": ""}] * 3,
            {},
            "line 1 of the loss's data: no text under 'answer'",
        ),
        ([{"question": "a"}] * 3, {}, "no text under 'prompt'"),
        (["{}\n", "\n"] * 3, {}, "line 1 of the loss's data: no text under 'prompt'"),
        (["\n", *ROWS[:2], "{}\n"], {}, "line 4 of the loss's data: no text under 'prompt'"),
        (["{}\n"] * 9, {"seed": 5}, "line 5 of the loss's data"),
        (ROWS, {"max_length": 2, "longer": "skip"}, "every example of the loss's data is longer"),
        (CHATS, {}, "list of messages under 'prompt'; set .* chat_template: true"),
        (CHATS, {"chat_template": True}, "the tokenizer has no chat template"),
        (ROWS[:2], {}, "2 examples, the loss's count asks for 3"),
        (["{}\n", "nonsense\n", "{}\n"], {}, "line 2: not a JSON object"),
        (ROWS, {"max_length": 5}, "raise the loss's option max_length"),
    ],
)
def test_odd_data_is_refused_in_one_line(build, rows, options, message):
    with pytest.raises(UserError, match=message) as refusal:
        build(rows=rows, **options)
    assert "\n" not in str(refusal.value)
