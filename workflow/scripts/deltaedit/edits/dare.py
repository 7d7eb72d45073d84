"""DARE: drop entries of the delta at random and rescale the rest; with the k of its extension."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from deltaedit.edits._chunks import Chunk, Editor, whole
from deltaedit.kernels import compiled, uniform
from deltaedit.streams import Stream

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Params:
    drop_rate: float  # p, probability that an entry is dropped, in [0, 1)
    dropped_scale: float = 0.0  # k, factor of the dropped entries; 0 is DARE
    rescale: bool | Literal["l1"] = True  # (1 - k p)/(1 - p) for the others; false: drop only

    def __post_init__(self) -> None:
        if not 0 <= self.drop_rate < 1:
            raise ValueError(f"drop_rate must be in [0, 1), got {self.drop_rate}")
        if not -100 <= self.dropped_scale <= 100:
            raise ValueError(f"dropped_scale must be in [-100, 100], got {self.dropped_scale}")
        if self.rescale == "l1" and self.dropped_scale:
            raise ValueError(f"rescale l1 needs dropped_scale 0, got {self.dropped_scale}")


EXAMPLE = Params(drop_rate=0.9)


def apply(delta: Tensor, params: Params, *, rng: Stream) -> Tensor:
    """Multiply each entry by k with probability p, else by (1 - k p)/(1 - p).

        out = k M * delta + (1 - k p)/(1 - p) (1 - M) * delta,  M ~ Bernoulli(p) elementwise

    The multiplier has mean 1 and variance (k - 1)^2 p/(1 - p); k = 0 is DARE, k = 1 the identity.
    With `rescale` off the second factor is 1: the entries are dropped (scaled by k) only.

    Args:
        delta: post-trained minus pretrained weights of one tensor, any shape, float32.
        params: see `Params`.
        rng: the tensor's random stream.

    Returns:
        The edited delta, shape and dtype of `delta`.

    Scope: element. Source: Yu et al. 2024, arXiv:2311.03099, eq. 2; k: Tang et al. 2024, A Unified
    View of Delta Parameter Editing, section 4.2.
    Differs: mergekit since 0.1.0 multiplies a tensor's kept entries by the one factor that gives
    back its L1 norm, `rescale: l1` here.
    """
    return whole(sys.modules[__name__], delta, params, rng)


def intensity(params: Params) -> float | None:
    """Return the variance of the multiplier, (k - 1)^2 p/(1 - p); None if its mean is not 1.

    Half of it times sum_i H_ii D_i^2 is the expected loss change to second order.
    """
    if params.rescale is not True:
        return None
    return (params.dropped_scale - 1) ** 2 * params.drop_rate / (1 - params.drop_rate)


def editor(params: Params, stream: Stream) -> Editor:
    """Return the function that edits a chunk."""
    p, k = params.drop_rate, params.dropped_scale
    kept_scale = np.float32((1 - k * p) / (1 - p) if params.rescale is True else 1.0)

    def edit(chunk: Chunk) -> None:
        _scale(chunk.delta, stream.key, chunk.start, p, np.float32(k), kept_scale, chunk.out)

    return edit


@compiled
def _scale(delta, key, start, drop_rate, dropped_scale, kept_scale, out):
    for i in range(delta.size):
        dropped = uniform(key, start + i) < drop_rate
        out[i] = delta[i] * (dropped_scale if dropped else kept_scale)
