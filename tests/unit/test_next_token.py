"""The next-token loss on answers: equal to Hugging Face's own, and to itself in other batches."""

import json

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


def measure(model, loss):
    return sum(loss_change.measure(model, loss))


@pytest.fixture(scope="module")
def model(tiny_pair):
    return load_causal_lm(tiny_pair()[1], torch.float32)


@pytest.fixture
def build(tmp_path, tokenizer):
    def make(rows=ROWS, count=3, batch_size=3, **options):
        data = tmp_path / "rows.jsonl"
        data.write_text(
            "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
        )
        spec = {"kind": "next_token", "options": options, "count": count, "batch_size": batch_size}
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


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            [{"prompt": "a", "answer": ""}] * 3,
            {},
            "line 1 of the loss's data: no text under 'answer'",
        ),
        ([{"question": "a"}] * 3, {}, "no text under 'prompt'"),
        (ROWS[:2], {}, "2 examples, the loss's count asks for 3"),
        (["{}\n", "nonsense\n", "{}\n"], {}, "example 2: not a JSON object"),
        (ROWS, {"max_length": 5}, "raise the loss's option max_length"),
    ],
)
def test_odd_data_is_refused_in_one_line(build, rows, options, message):
    with pytest.raises(UserError, match=message) as refusal:
        build(rows=rows, **options)
    assert "\n" not in str(refusal.value)
