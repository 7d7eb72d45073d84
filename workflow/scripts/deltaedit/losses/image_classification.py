"""Cross-entropy of classifying pictures, by a zero-shot head or by a head of the model's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a dry run and each cluster job check options, and need not wait for torch
    from torch import Tensor, nn

    from deltaedit.image_models import Logits
    from deltaedit.images import Pictures

DATA = "images"


@dataclass(frozen=True, kw_only=True)
class Params:
    """No options."""


def batches(
    pictures: Pictures, logits: Logits, params: Params, batch_size: int
) -> Iterator[tuple[float, Callable[[nn.Module], Tensor]]]:
    """Yield (weight, loss) per batch; the loss of all pictures is the weighted sum.

        L = - 1/N sum_i log softmax(logits(picture_i))[label_i]

    Args:
        pictures: N of them, with their labels.
        logits: of a model and pictures.
        params: none.
        batch_size: pictures per forward pass.

    Yields:
        The batch's share of all pictures, and a function of the model that returns the batch's
        mean loss, a scalar in nats per picture. The shares sum to one.
    """
    for start in range(0, len(pictures), batch_size):
        stop = min(start + batch_size, len(pictures))
        yield (stop - start) / len(pictures), _mean_loss(pictures, logits, start, stop)


def _mean_loss(
    pictures: Pictures, logits: Logits, start: int, stop: int
) -> Callable[[nn.Module], Tensor]:
    from torch.nn.functional import cross_entropy

    def loss(model: nn.Module) -> Tensor:
        device = next(model.parameters()).device
        found = logits(model, pictures.pixels(start, stop, device))
        return cross_entropy(found.float(), pictures.labels[start:stop].to(device))

    return loss
