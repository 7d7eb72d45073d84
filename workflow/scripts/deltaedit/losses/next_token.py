"""Next-token cross-entropy on answers: the prompt is given, the answer is predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from deltaedit.errors import UserError

if TYPE_CHECKING:  # a dry run checks options, and need not wait for transformers
    from transformers import PreTrainedModel
    from transformers import PreTrainedTokenizerBase as Tokenizer

IGNORED = -100  # label of a token that is not predicted


@dataclass(frozen=True, kw_only=True)
class Params:
    reduction: Literal["token", "example"] = "token"  # mean over answer tokens, or over examples
    max_length: int = 1024  # tokens of prompt and answer; a longer example is refused

    def __post_init__(self) -> None:
        if self.max_length < 2:
            raise ValueError(f"max_length must be at least 2, got {self.max_length}")


def batches(
    rows: Sequence[Mapping[str, Any]], tokenizer: Tokenizer, params: Params, batch_size: int
) -> Iterator[tuple[float, Callable[[PreTrainedModel], Tensor]]]:
    """Yield (weight, loss) per batch; the loss of all rows is the weighted sum.

        L = - 1/N sum_i log P(answer_i | prompt, answer_<i)

    over the N answer tokens of all rows (`reduction: token`), or averaged over each answer first
    and then over rows (`example`). An answer is followed by the end-of-sequence token, which
    counts as one of its tokens. Prompt and answer are joined by a space.

    Args:
        rows: each with `prompt` and `answer`.
        tokenizer: the model's own.
        params: see `Params`.
        batch_size: rows per forward pass.

    Yields:
        The batch's share of all tokens (or rows), and a function of the model that returns the
        batch's mean loss, a scalar in nats per token. The shares sum to one.

    Raises:
        UserError: a row without prompt or answer, or one longer than `max_length`.
    """
    encoded = [_encode(i, row, tokenizer, params.max_length) for i, row in enumerate(rows)]
    counts = [sum(label != IGNORED for label in labels) for _, labels in encoded]
    total = len(rows) if params.reduction == "example" else sum(counts)
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    for start in range(0, len(rows), batch_size):
        batch, lengths = encoded[start : start + batch_size], counts[start : start + batch_size]
        share = len(batch) if params.reduction == "example" else sum(lengths)
        yield share / total, _mean_loss(batch, lengths, padding, params.reduction)


def _encode(
    i: int, row: Mapping[str, Any], tokenizer: Tokenizer, max_length: int
) -> tuple[list[int], list[int]]:
    """Return ids and labels of one row; labels are IGNORED in the prompt."""
    for key in ("prompt", "answer"):
        if not isinstance(row.get(key), str) or not row[key]:
            raise UserError(f"line {i + 1} of the loss's data: no text under {key!r}")
    prompt = tokenizer(row["prompt"]).input_ids
    ids = tokenizer(f"{row['prompt']} {row['answer']}").input_ids
    if tokenizer.eos_token_id is not None and ids[-1] != tokenizer.eos_token_id:
        ids = [*ids, tokenizer.eos_token_id]
    if len(ids) > max_length:
        raise UserError(
            f"line {i + 1} of the loss's data: {len(ids)} tokens; raise the loss's option"
            f" max_length ({max_length}) or leave the line out"
        )
    start = min(len(prompt), len(ids) - 1)
    return ids, [IGNORED] * start + ids[start:]


def _mean_loss(
    batch: Sequence[tuple[list[int], list[int]]], counts: list[int], padding: int, reduction: str
) -> Callable[[PreTrainedModel], Tensor]:
    longest = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([ids + [padding] * (longest - len(ids)) for ids, _ in batch])
    labels = torch.tensor([labels + [IGNORED] * (longest - len(labels)) for _, labels in batch])
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in batch])
    weights = torch.tensor(counts, dtype=torch.float32).reciprocal() / len(batch)

    def loss(model: PreTrainedModel) -> Tensor:
        device = model.device
        logits = model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
        logits, target = logits[:, :-1].float(), labels[:, 1:].to(device)
        if reduction == "token":
            return cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORED)
        each = cross_entropy(logits.transpose(1, 2), target, ignore_index=IGNORED, reduction="none")
        return (each.sum(dim=1) * weights.to(device)).sum()

    return loss
