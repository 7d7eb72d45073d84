"""Direct preference optimisation: the chosen answer against the rejected, and a reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deltaedit.losses._answers import Answer, Encoding, encode, surprisals

if TYPE_CHECKING:  # a dry run and each cluster job check options, and need not wait for torch
    from torch import Tensor
    from transformers import PreTrainedModel
    from transformers import PreTrainedTokenizerBase as Tokenizer

DATA = "texts"
SIDES = ("chosen", "rejected")


@dataclass(frozen=True, kw_only=True)
class Params(Encoding):
    beta: float = 0.1  # weight of the log-ratios; Rafailov et al. and TRL take 0.1, Zephyr 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.beta < float("inf"):
            raise ValueError(f"beta must be a positive number, got {self.beta}")


def batches(
    rows: Mapping[int, Mapping[str, Any]],
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
        rows: by line in the data, each with `prompt`, `chosen` and `rejected`, see `encode`.
        tokenizer: the model's own.
        params: see `Params`.
        batch_size: rows per forward pass, of two answers each.
        reference: loads the reference model, the base of a pair.

    Yields:
        The batch's share of all rows, and a function of the model that returns the batch's mean
        loss, a scalar in nats per example. The shares sum to one.

    Raises:
        UserError: see `encode`.

    Source: Rafailov et al. 2023, arXiv:2305.18290, eq. 7.
    Differs: long examples are refused or left out, where TRL cuts them.
    """
    pairs = encode(rows, SIDES, tokenizer, params)
    parts = [pairs[start : start + batch_size] for start in range(0, len(pairs), batch_size)]
    margins = [_margins(part, tokenizer) for part in parts]
    references = _without_gradient(reference(), margins)
    for part, margin, wanted in zip(parts, margins, references, strict=True):
        yield len(part) / len(pairs), _mean_loss(margin, wanted, params.beta)


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
    import torch

    with torch.no_grad():
        return [margin(model) for margin in margins]


def _mean_loss(
    margins: Callable[[PreTrainedModel], Tensor], reference: Tensor, beta: float
) -> Callable[[PreTrainedModel], Tensor]:
    from torch.nn.functional import softplus

    def loss(model: PreTrainedModel) -> Tensor:
        return softplus(-beta * (margins(model) - reference)).mean()

    return loss
