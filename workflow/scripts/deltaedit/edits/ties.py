"""TIES' trimming: keep the entries of largest magnitude and drop the others."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from deltaedit.edits._chunks import Chunk, Editor, whole
from deltaedit.edits._counts import share
from deltaedit.magnitudes import Blocks
from deltaedit.streams import Stream

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Params:
    drop_rate: float  # share of the entries that is dropped, in [0, 1)
    over: Literal["tensor", "model"] = "tensor"  # the entries of each, or of all tensors together

    def __post_init__(self) -> None:
        if not 0 <= self.drop_rate < 1:
            raise ValueError(f"drop_rate must be in [0, 1), got {self.drop_rate}")


EXAMPLE = Params(drop_rate=0.8)


def apply(delta: Tensor, params: Params, *, rng: Stream) -> Tensor:
    """Set the floor(drop_rate * n) entries of smallest magnitude to zero.

        out = M * delta,  M_i = 1 for the n - floor(drop_rate * n) largest |delta_i|

    Exactly that many entries are kept: of equal magnitudes, those that come last. With
    `over: model` the n entries are those of all edited tensors, and every entry as large as the
    smallest kept one is kept too.

    Args:
        delta: post-trained minus pretrained weights of one tensor, any shape, float32.
        params: see `Params`.
        rng: not used, the method is deterministic.

    Returns:
        The edited delta, shape and dtype of `delta`.

    Scope: tensor. Source: Yadav et al. 2023, arXiv:2306.01708, step 1; eq. 10 of Tang et al. 2024.
    Differs: the authors trim one vector of all parameters and keep every entry that equals the
    threshold, `over: model` here (but for one entry: they keep floor((1 - drop_rate) n) + 1); Tang
    et al. and mergekit trim each tensor.
    """
    return whole(sys.modules[__name__], delta, params, rng)


def ranks(params: Params, size: int) -> list[int]:
    """Return where to cut a tensor's (or the model's) sorted magnitudes."""
    return [share(params.drop_rate, size)]


def editor(params: Params, stream: Stream, blocks: Blocks) -> Editor:
    """Return the function that edits a chunk."""

    def edit(chunk: Chunk) -> None:
        blocks.keep(chunk.delta, [False, True], chunk.out)

    return edit
