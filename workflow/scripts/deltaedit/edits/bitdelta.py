"""BitDelta: keep the sign of each entry, and of the magnitudes only their mean."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from deltaedit.edits._chunks import Chunk, Editor, whole
from deltaedit.kernels import compiled, uniform
from deltaedit.magnitudes import Blocks
from deltaedit.streams import Stream

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Params:
    scale_multiple: float = 1.0  # c, factor of the mean; another than 1 is "degenerate"
    magnitude: Literal["mean", "normal", "uniform"] = "mean"  # or drawn, with that mean
    blocks: int = 1  # M, blocks of equally many magnitudes, each with its own mean
    zero: Literal["zero", "plus"] = "zero"  # the sign of an entry that is 0

    def __post_init__(self) -> None:
        if not -100 <= self.scale_multiple <= 100:
            raise ValueError(f"scale_multiple must be in [-100, 100], got {self.scale_multiple}")
        if not 1 <= self.blocks <= 1 << 16:
            raise ValueError(f"blocks must be in [1, {1 << 16}], got {self.blocks}")
        if self.magnitude != "mean" and self.blocks > 1:
            raise ValueError(f"magnitude {self.magnitude} has one block, got {self.blocks}")


EXAMPLE = Params()
TENSORS = "linear"


def apply(delta: Tensor, params: Params, *, rng: Stream) -> Tensor:
    """Replace each magnitude by the mean magnitude of its block.

        out_i = c * sign(delta_i) * m_i,  m_i = mean of |delta| over the block of i

    The M blocks divide the sorted magnitudes into equal counts, the first n mod M of them with one
    more; equal magnitudes sort in their order. M = 1 is BitDelta without its distillation, M = n
    the identity. With `magnitude` normal m_i is mean * sqrt(pi/2) * |z|, z standard normal, with
    uniform 2 * mean * u, u uniform in [0, 1): both have that mean and are not negative.

    Args:
        delta: post-trained minus pretrained weights of one tensor, any shape, float32.
        params: see `Params`.
        rng: the tensor's random stream, used where magnitudes are drawn.

    Returns:
        The edited delta, shape and dtype of `delta`.

    Scope: tensor. Source: Liu et al. 2024, arXiv:2402.10193; c, drawn magnitudes and blocks: Tang
    et al. 2024, sections 5.1 and 5.3.
    Differs: the authors' code takes the sign of 0 as +1 (`zero: plus` here, the packed form needs
    it) and rounds the scale to the checkpoint's dtype; their multi-bit form repeats the one-bit
    step on what is left, Tang et al.'s is that of the blocks here.
    """
    return whole(sys.modules[__name__], delta, params, rng)


def ranks(params: Params, size: int) -> list[int]:
    """Return where to cut a tensor's sorted magnitudes."""
    least, more = divmod(size, params.blocks)
    return [least * j + min(j, more) for j in range(1, params.blocks)]


def editor(params: Params, stream: Stream, blocks: Blocks) -> Editor:
    """Return the function that edits a chunk."""
    levels = np.abs(blocks.means * np.float32(params.scale_multiple))
    sign = np.float32(np.copysign(1, params.scale_multiple))
    at_zero = sign if params.zero == "plus" else np.float32(0)
    normal = params.magnitude == "normal"

    def edit(chunk: Chunk) -> None:
        if params.magnitude != "mean":
            _draw(levels[0], normal, stream.key, chunk.start, chunk.out)
        elif params.blocks > 1:
            blocks.set_levels(chunk.delta, levels, chunk.out)
        else:
            chunk.out[:] = levels[0]
        _sign(chunk.delta, sign, at_zero, chunk.out)

    return edit


@compiled
def _draw(mean, normal, key, start, out):
    for i in range(out.size):
        if normal:  # Box and Muller
            radius = np.sqrt(-2 * np.log(1 - uniform(key, 2 * (start + i))))
            z = radius * np.cos(2 * np.pi * uniform(key, 2 * (start + i) + 1))
            out[i] = mean * np.sqrt(np.pi / 2) * abs(z)
        else:
            out[i] = mean * 2 * uniform(key, start + i)


@compiled
def _sign(delta, sign, at_zero, out):
    for i in range(delta.size):
        side = sign if delta[i] > 0 else -sign if delta[i] < 0 else at_zero
        out[i] = abs(out[i]) * side
