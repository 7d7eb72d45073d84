"""Direct preference optimisation: the chosen answer against the rejected, and a reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from torch.nn.functional import softplus

from deltaedit.errors import UserError
from deltaedit.losses._answers import Answer, check_max_length, encode, label, surprisals, texts

if TYPE_CHECKING:  # a dry run checks options, and need not wait for transformers
    from transformers import PreTrainedModel
    from transformers import PreTrainedTokenizerBase as Tokenizer

SIDES = ("chosen", "rejected")


@dataclass(frozen=True, kw_only=True)
class Params:
    beta: float = 0.1  # weight of the log-ratios; Rafailov et al. and TRL take 0.1, Zephyr 0.01
    max_length: int = 1024  # tokens of prompt and answer; a longer example is refused
    chat_template: bool = False  # encode conversations by the tokenizer's own template

    def __post_init__(self) -> None:
        if not 0 < self.beta < float("inf"):
            raise ValueError(f"beta must be a positive number, got {self.beta}")
        check_max_length(self.max_length)


def batches(
    rows: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    params: Params,
    batch_size: int,
    *,
    reference: Callable[[], PreTrainedModel],
) -> Iterator[tuple[float, Callable[[PreTrainedModel], Tensor]]]:
    """Yield (weight, loss) per batch; the loss of all rows is the weighted sum.

        L = - 1/N sum log sigmoid(beta (m - m_ref)),   m = log P(chosen|x) - log P(rejected|x)

    over N rows; log P sums over the tokens of an answer, the end-of-sequence token included.
    The reference's m_ref are taken before the first batch is yielded, and the model is let go.

    Args:
        rows: each with `prompt`, `chosen` and `rejected`: three texts, or with `chat_template`
            texts or lists of messages. An answer of several messages is the whole conversation
            and its last message the answer, as in ultrafeedback_binarized.
        tokenizer: the model's own.
        params: see `Params`.
        batch_size: rows per forward pass, of two answers each.
        reference: loads the reference model, the base of a pair.

    Yields:
        The batch's share of all rows, and a function of the model that returns the batch's mean
        loss, a scalar in nats per example. The shares sum to one.

    Raises:
        UserError: a row without the three, one longer than `max_length`, or a tokenizer without
            the template asked for.

    Source: Rafailov et al. 2023, arXiv:2305.18290, eq. 7.
    Differs: long examples are refused, where TRL cuts them.
    """
    if params.chat_template and not tokenizer.chat_template:
        raise UserError("the tokenizer has no chat template; leave the loss's option out")
    encoder = _encode_chat if params.chat_template else _encode_texts
    pairs = [encoder(i, row, tokenizer, params.max_length) for i, row in enumerate(rows)]
    parts = [pairs[start : start + batch_size] for start in range(0, len(pairs), batch_size)]
    margins = [_margins(part, tokenizer) for part in parts]
    references = _without_gradient(reference(), margins)
    for part, margin, wanted in zip(parts, margins, references, strict=True):
        yield len(part) / len(pairs), _mean_loss(margin, wanted, params.beta)


def _encode_texts(
    i: int, row: Mapping[str, Any], tokenizer: Tokenizer, max_length: int
) -> list[Answer]:
    """Return the chosen and the rejected answer of a row of texts."""
    for key in SIDES:
        if isinstance(row.get(key), list):
            raise UserError(
                f"line {i + 1} of the loss's data: a list of messages under {key!r}; set the"
                " loss's option chat_template: true"
            )
    prompt, *answers = texts(i, row, ["prompt", *SIDES])
    return [encode(i, prompt, answer, tokenizer, max_length) for answer in answers]


def _encode_chat(
    i: int, row: Mapping[str, Any], tokenizer: Tokenizer, max_length: int
) -> list[Answer]:
    """Return the chosen and the rejected answer of a row, in the tokenizer's chat template."""
    return [
        _encode_conversation(i, _conversation(i, row, side), tokenizer, max_length)
        for side in SIDES
    ]


def _conversation(i: int, row: Mapping[str, Any], side: str) -> list[Mapping[str, str]]:
    """Return all messages up to the answer under `side`."""
    answer = _messages(i, row, side, "assistant")
    found = answer if len(answer) > 1 else [*_messages(i, row, "prompt", "user"), *answer]
    if found[-1]["role"] != "assistant":
        raise UserError(f"line {i + 1} of the loss's data: {side!r} ends in no assistant's message")
    return found


def _messages(i: int, row: Mapping[str, Any], key: str, role: str) -> list[Mapping[str, str]]:
    """Return what is under `key` as messages; a text is one message of `role`."""
    found = row.get(key)
    if isinstance(found, str) and found:
        return [{"role": role, "content": found}]
    if isinstance(found, list) and found:
        fine = (isinstance(each, dict) and {"role", "content"} <= each.keys() for each in found)
        if all(fine):
            return found
    raise UserError(f"line {i + 1} of the loss's data: no text or messages under {key!r}")


def _encode_conversation(
    i: int, messages: list[Mapping[str, str]], tokenizer: Tokenizer, max_length: int
) -> Answer:
    """Encode a conversation whose last message is the answer.

    The answer begins where the template with its generation prompt ends, and ends with the
    end-of-sequence token, which is added where the template writes none.
    """

    def templated(messages: list[Mapping[str, str]], **options: bool) -> list[int]:
        text = tokenizer.apply_chat_template(messages, tokenize=False, **options)
        return tokenizer(text, add_special_tokens=False).input_ids

    try:
        given, ids = templated(messages[:-1], add_generation_prompt=True), templated(messages)
    except TemplateError as error:
        reason = f"the tokenizer's chat template refuses it: {error}"
        raise UserError(f"line {i + 1} of the loss's data: {reason}") from None
    end = tokenizer.eos_token_id
    if end in ids[len(given) :]:
        ids = ids[: len(ids) - ids[::-1].index(end)]  # what a template writes after it is no answer
    elif end is not None:
        ids = [*ids, end]
    return label(i, given, ids, max_length)


def _margins(
    pairs: Sequence[Sequence[Answer]], tokenizer: Tokenizer
) -> Callable[[PreTrainedModel], Tensor]:
    """Return the function of a model that gives log P(chosen) - log P(rejected), [pairs]."""
    chosen, rejected = zip(*pairs, strict=True)
    each = surprisals([*chosen, *rejected], tokenizer)

    def margins(model: PreTrainedModel) -> Tensor:
        of_chosen, of_rejected = each(model).sum(dim=1).chunk(2)
        return of_rejected - of_chosen

    return margins


def _without_gradient(
    model: PreTrainedModel, margins: Sequence[Callable[[PreTrainedModel], Tensor]]
) -> list[Tensor]:
    with torch.no_grad():
        return [margin(model) for margin in margins]


def _mean_loss(
    margins: Callable[[PreTrainedModel], Tensor], reference: Tensor, beta: float
) -> Callable[[PreTrainedModel], Tensor]:
    def loss(model: PreTrainedModel) -> Tensor:
        return softplus(-beta * (margins(model) - reference)).mean()

    return loss
