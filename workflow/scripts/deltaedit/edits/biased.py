"""Biased DARE: the side that is scaled by k is chosen by a sign instead of at random."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from deltaedit.edits._chunks import Chunk, Editor, whole
from deltaedit.kernels import compiled
from deltaedit.streams import Stream

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Params:
    by: Literal["delta", "product"]  # the sign of delta, or of delta times the loss's gradient
    dropped_scale: float = 0.0  # k, factor of the negative side
    drop_rate: float = 0.5  # p in the other side's factor (1 - k p)/(1 - p), in [0, 1)
    zero: Literal["positive", "negative"] = "positive"  # the side of an entry whose sign is 0

    def __post_init__(self) -> None:
        if not 0 <= self.drop_rate < 1:
            raise ValueError(f"drop_rate must be in [0, 1), got {self.drop_rate}")
        if not -100 <= self.dropped_scale <= 100:
            raise ValueError(f"dropped_scale must be in [-100, 100], got {self.dropped_scale}")


EXAMPLE = Params(by="delta")


def apply(delta: Tensor, params: Params, *, rng: Stream, gradient: Tensor | None = None) -> Tensor:
    """Multiply the negative side by k and the positive side by (1 - k p)/(1 - p).

        out_i = k delta_i where s_i < 0, (1 - k p)/(1 - p) delta_i where s_i > 0
        s = delta, or s = delta * grad L(W_post)

    Args:
        delta: post-trained minus pretrained weights of one tensor, any shape, float32.
        params: see `Params`.
        rng: not used, the method is deterministic.
        gradient: of the loss at the post-trained weights, shape of `delta`, for `by: product`; a
            tensor that has none counts as all zero.

    Returns:
        The edited delta, shape and dtype of `delta`.

    Raises:
        ValueError: `by: product` without a gradient.

    Scope: element. Source: Tang et al. 2024, Table 1. They state neither p (the share of negative
    entries is near 0.5) nor the side of a product that is 0.
    """
    if params.by == "product" and gradient is None:
        raise ValueError("by: product needs the gradient of a loss")
    return whole(sys.modules[__name__], delta, params, rng, gradient)


def editor(params: Params, stream: Stream) -> Editor:
    """Return the function that edits a chunk."""
    p, k = params.drop_rate, params.dropped_scale
    factors = np.float32(k), np.float32((1 - k * p) / (1 - p))
    at_zero = factors[params.zero == "positive"]

    def edit(chunk: Chunk) -> None:
        ones = np.broadcast_to(np.float32(1), chunk.delta.shape)
        side = ones if params.by == "delta" else chunk.gradient
        _scale(chunk.delta, side, *factors, at_zero, chunk.out)

    return edit


@compiled
def _scale(delta, side, negative, positive, at_zero, out):
    for i in range(delta.size):
        # Signs, not the product, which can vanish in float32.
        sign = np.sign(delta[i]) * np.sign(side[i])
        out[i] = delta[i] * (negative if sign < 0 else positive if sign > 0 else at_zero)
