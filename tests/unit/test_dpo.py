"""The DPO loss: equal to its formula worked out by hand, in batches, in text and in chat form."""

import gc
import json
import math
import weakref

import pytest
import torch

from deltaedit import losses
from deltaedit.errors import UserError
from deltaedit.models import load_causal_lm

ROWS = [
    {"prompt": "question : what color is it ?", "chosen": "red", "rejected": "in the lake"},
    {"prompt": "instruction : list 2 homes .", "chosen": "lake cave", "rejected": "lake red"},
    {"prompt": "question : tom has 3 pens .", "chosen": "3 + 5 = 8 #### 8", "rejected": "8"},
]
BETA = 0.7
USER = "{% if m.role == 'user' %}{{ m.content }} response : {% else %}"
TEMPLATE = (  # an instruction, " response : ", and the answer with its end and a line break
    "{% for m in messages %}" + USER + "{{ m.content }} </s> \n{% endif %}{% endfor %}"
)


@pytest.fixture(scope="module")
def pair(tiny_pair):
    """Base and post of a tiny Llama, in float64, which it leaves for float32 in its norms."""
    return [load_causal_lm(folder, torch.float32).double() for folder in tiny_pair()]


@pytest.fixture
def build(tmp_path, tokenizer, pair):
    def make(rows=ROWS, batch_size=3, reference=lambda: pair[0], **options):
        data = tmp_path / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        options = {"beta": BETA, **options}
        spec = {"kind": "dpo", "options": options, "count": len(rows), "batch_size": batch_size}
        return losses.build(spec, data, tokenizer, reference)

    return make


def value(model, loss):
    return sum(weight * part(model) for weight, part in loss)


def log_probability(model, tokenizer, prompt, answer):
    """Return log P(answer and its end | prompt), one row at a time and without padding."""
    given = tokenizer(prompt).input_ids
    ids = [*given, *tokenizer(answer).input_ids, tokenizer.eos_token_id]
    logs = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(logs[i - 1, ids[i]] for i in range(len(given), len(ids)))


def margin(model, tokenizer, row):
    chosen, rejected = (
        log_probability(model, tokenizer, row["prompt"], row[side])
        for side in ("chosen", "rejected")
    )
    return chosen - rejected


def test_the_loss_is_that_of_the_formula(pair, tokenizer, build):
    base, post = pair
    gains = [(margin(post, tokenizer, r) - margin(base, tokenizer, r)).item() for r in ROWS]
    wanted = sum(-math.log(1 / (1 + math.exp(-BETA * gain))) for gain in gains) / len(ROWS)
    assert value(post, build()).item() == pytest.approx(wanted, rel=1e-9)
    assert abs(wanted - math.log(2)) > 1e-3, "the two models must differ here"


def test_it_is_log_2_where_the_model_is_its_reference(pair, build):
    assert value(pair[0], build()).item() == pytest.approx(math.log(2), rel=1e-12)


def test_its_gradient_there_raises_the_chosen_answer_over_the_rejected(pair, tokenizer, build):
    base = pair[0]
    parameters = list(base.parameters())
    found = torch.autograd.grad(value(base, build(ROWS[:1])), parameters)
    wanted = torch.autograd.grad(margin(base, tokenizer, ROWS[0]), parameters)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, -BETA / 2 * theirs, rtol=1e-4, atol=1e-6)


def test_swapped_answers_change_the_loss_by_the_mean_gain(pair, tokenizer, build):
    base, post = pair
    swapped = [{**r, "chosen": r["rejected"], "rejected": r["chosen"]} for r in ROWS]
    gains = [(margin(post, tokenizer, r) - margin(base, tokenizer, r)).item() for r in ROWS]
    difference = value(post, build(swapped)).item() - value(post, build()).item()
    assert difference == pytest.approx(BETA * sum(gains) / len(gains), rel=1e-9)


@pytest.mark.parametrize("size", [1, 2])
def test_the_batch_size_does_not_change_the_loss(pair, build, size):
    loss = build(batch_size=size)
    assert sum(weight for weight, _ in loss) == pytest.approx(1)
    assert value(pair[1], loss).item() == pytest.approx(value(pair[1], build()).item(), rel=1e-9)


def test_the_reference_is_loaded_once_and_gone_before_the_loss_is_used(tiny_pair, build):
    alive = []

    def load():
        model = load_causal_lm(tiny_pair()[0], torch.float32)
        alive.append(weakref.ref(model))
        return model

    build(batch_size=1, reference=load)
    gc.collect()
    assert [reference() for reference in alive] == [None]


def test_a_loss_without_reference_loads_none(tmp_path, tokenizer):
    data = tmp_path / "rows.jsonl"
    data.write_text('{"prompt": "tom has", "answer": "3 pens"}\n')
    spec = {"kind": "next_token", "options": {}, "count": 1, "batch_size": 1}
    losses.build(spec, data, tokenizer, lambda: pytest.fail("it was loaded"))
    assert [kind for kind in losses.NAMES if losses.takes_reference(kind)] == ["dpo"]


def message(role, content):
    return {"role": role, "content": content}


def whole_conversations(row):  # as in ultrafeedback_binarized
    asked = message("user", row["prompt"])
    sides = {s: [asked, message("assistant", row[s])] for s in ("chosen", "rejected")}
    return {**row, **sides}


def prompt_and_answers(row):
    sides = {s: [message("assistant", row[s])] for s in ("chosen", "rejected")}
    return {"prompt": [message("user", row["prompt"])], **sides}


@pytest.mark.parametrize("form", [dict, whole_conversations, prompt_and_answers])
@pytest.mark.parametrize("end", [" </s> \n", "</s>", ""])
def test_a_chat_template_stands_for_the_text_that_it_writes(
    pair, tokenizer, build, monkeypatch, form, end
):
    wanted = build([{**row, "prompt": f"{row['prompt']} response :"} for row in ROWS])
    monkeypatch.setattr(tokenizer, "chat_template", TEMPLATE.replace(" </s> \n", end))
    found = build([form(row) for row in ROWS], chat_template=True)
    assert value(pair[1], found).item() == pytest.approx(value(pair[1], wanted).item(), rel=1e-9)


def test_a_row_with_one_answer_too_long_is_left_out_with_both(pair, build):
    rows = [ROWS[0], {**ROWS[1], "rejected": "lake cave " * 20}, ROWS[2]]
    found = build(rows, max_length=30, longer="skip", batch_size=1)
    assert [weight for weight, _ in found] == [0.5, 0.5]
    wanted = build([ROWS[0], ROWS[2]])
    assert value(pair[1], found).item() == pytest.approx(value(pair[1], wanted).item(), rel=1e-9)


LISTS = [whole_conversations(row) for row in ROWS]
UNANSWERED = [{**ROWS[0], "rejected": [message("assistant", "red"), message("user", "red")]}]


@pytest.mark.parametrize(
    ("rows", "options", "template", "wanted"),
    [
        ([{**ROWS[0], "rejected": ""}], {}, None, "line 1 of .*: no text under 'rejected'"),
        ([ROWS[0], {"prompt": "a"}], {}, None, "line 2 of .*: no text under 'chosen'"),
        (LISTS, {}, None, "list of messages under 'chosen'; set .* chat_template: true"),
        (ROWS, {"max_length": 5}, None, "raise the loss's option max_length"),
        (LISTS, {"max_length": 5, "chat_template": True}, TEMPLATE, "option max_length"),
        (LISTS, {"chat_template": True}, None, "the tokenizer has no chat template"),
        ([{"prompt": "a"}], {"chat_template": True}, TEMPLATE, "no text or messages under 'cho"),
        ([{"chosen": [{}]}], {"chat_template": True}, TEMPLATE, "no text or messages under 'cho"),
        (UNANSWERED, {"chat_template": True}, TEMPLATE, "'rejected' ends in no assistant's"),
        (LISTS, {"chat_template": True}, "{{ raise_exception('no') }}", "refuses it: no"),
    ],
)
def test_odd_data_is_refused_in_one_line(
    tokenizer, build, monkeypatch, rows, options, template, wanted
):
    monkeypatch.setattr(tokenizer, "chat_template", template)
    with pytest.raises(UserError, match=wanted) as refusal:
        build(rows, **options)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("beta", [0, -1, math.inf, math.nan])
def test_beta_is_positive(beta):
    with pytest.raises(ValueError, match="beta must be a positive number"):
        losses.parse("dpo", {"beta": beta})
