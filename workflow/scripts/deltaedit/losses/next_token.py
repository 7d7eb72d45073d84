"""Next-token cross-entropy on answers: the prompt is given, the answer is predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from deltaedit.losses._answers import Answer, Encoding, encode, surprisals

if TYPE_CHECKING:  # a dry run and each cluster job check options, and need not wait for torch
    from torch import Tensor
    from transformers import PreTrainedModel
    from transformers import PreTrainedTokenizerBase as Tokenizer

DATA = "texts"


@dataclass(frozen=True, kw_only=True)
class Params(Encoding):
    reduction: Literal["token", "example"] = "token"  # mean over answer tokens, or over examples


def batches(
    rows: Mapping[int, Mapping[str, Any]], tokenizer: Tokenizer, params: Params, batch_size: int
) -> Iterator[tuple[float, Callable[[PreTrainedModel], Tensor]]]:
    """Yield (weight, loss) per batch; the loss of all rows is the weighted sum.

        L = - 1/N sum_i log P(answer_i | prompt, answer_<i)

    over the N answer tokens of all rows (`reduction: token`), or averaged over each answer first
    and then over rows (`example`). An answer is followed by the end-of-sequence token, which
    counts as one of its tokens.

    Args:
        rows: by line in the data, each with `prompt` and `answer`, see `encode`.
        tokenizer: the model's own.
        params: see `Params`.
        batch_size: rows per forward pass.

    Yields:
        The batch's share of all tokens (or rows), and a function of the model that returns the
        batch's mean loss, a scalar in nats per token. The shares sum to one.

    Raises:
        UserError: see `encode`.
    """
    answers = [answer for (answer,) in encode(rows, ["answer"], tokenizer, params)]
    share = {"token": lambda answer: answer.count, "example": lambda answer: 1}[params.reduction]
    total = sum(map(share, answers))
    for start in range(0, len(answers), batch_size):
        batch = answers[start : start + batch_size]
        part = sum(map(share, batch))
        yield part / total, _mean_loss(batch, tokenizer, params.reduction, part)


def _mean_loss(
    batch: Sequence[Answer], tokenizer: Tokenizer, reduction: str, part: int
) -> Callable[[PreTrainedModel], Tensor]:
    import torch

    each = surprisals(batch, tokenizer)
    counts = torch.tensor([[answer.count] for answer in batch])

    def loss(model: PreTrainedModel) -> Tensor:
        found = each(model)
        if reduction == "example":
            found = found / counts.to(found.device)
        return found.sum() / part

    return loss
