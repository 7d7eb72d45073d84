"""ExPO: extrapolate (alpha > 0) or interpolate (alpha < 0) along the delta."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deltaedit.edits._chunks import Chunk, Editor, whole
from deltaedit.streams import Stream

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Params:
    alpha: float  # extrapolation length; 0 is the post-trained model, -1 the pretrained one

    def __post_init__(self) -> None:
        if not -100 <= self.alpha <= 100:
            raise ValueError(f"alpha must be in [-100, 100], got {self.alpha}")


EXAMPLE = Params(alpha=0.3)


def apply(delta: Tensor, params: Params, *, rng: Stream) -> Tensor:
    """Lengthen the delta: out = (1 + alpha) * delta.

    Args:
        delta: post-trained minus pretrained weights of one tensor, any shape, float32.
        params: see `Params`.
        rng: not used, the method is deterministic.

    Returns:
        The edited delta, shape and dtype of `delta`.

    Scope: element. Source: Zheng et al. 2024, arXiv:2404.16792; eq. 13 of Tang et al. 2024.
    Differs: the authors compute in bfloat16, here float32 is rounded once.
    """
    return whole(sys.modules[__name__], delta, params, rng)


def editor(params: Params, stream: Stream) -> Editor:
    """Return the function that edits a chunk."""
    factor = np.float32(1 + params.alpha)

    def edit(chunk: Chunk) -> None:
        np.multiply(chunk.delta, factor, out=chunk.out)

    return edit
