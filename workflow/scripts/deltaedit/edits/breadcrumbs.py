"""Model breadcrumbs: drop the entries of largest and of smallest magnitude, keep the middle."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deltaedit.edits._chunks import Chunk, Editor, whole
from deltaedit.edits._counts import share
from deltaedit.magnitudes import Blocks
from deltaedit.streams import Stream

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Params:
    drop_rate: float  # share of the entries that is dropped in all, in [0, 1)
    outliers: float = 0.01  # the part of it that are the largest, at most drop_rate

    def __post_init__(self) -> None:
        if not 0 <= self.outliers <= self.drop_rate < 1:
            raise ValueError(
                "drop_rate must be below 1 and outliers in [0, drop_rate], got drop_rate"
                f" {self.drop_rate} and outliers {self.outliers}"
            )


EXAMPLE = Params(drop_rate=0.5)


def apply(delta: Tensor, params: Params, *, rng: Stream) -> Tensor:
    """Set the largest and the smallest magnitudes of a tensor to zero.

        out = M * delta,  M_i = 0 for the floor(outliers * n) largest |delta_i| and for the
        floor(drop_rate * n) - floor(outliers * n) smallest

    Args:
        delta: post-trained minus pretrained weights of one tensor, any shape, float32.
        params: see `Params`.
        rng: not used, the method is deterministic.

    Returns:
        The edited delta, shape and dtype of `delta`.

    Scope: tensor. Source: Davari and Belilovsky 2024, arXiv:2312.06795.
    Differs: mergekit before 0.1.5 zeroes the whole tensor where there is no outlier to drop.
    """
    return whole(sys.modules[__name__], delta, params, rng)


def ranks(params: Params, size: int) -> list[int]:
    """Return where to cut a tensor's sorted magnitudes."""
    outliers = share(params.outliers, size)
    return [share(params.drop_rate, size) - outliers, size - outliers]


def editor(params: Params, stream: Stream, blocks: Blocks) -> Editor:
    """Return the function that edits a chunk."""

    def edit(chunk: Chunk) -> None:
        blocks.keep(chunk.delta, [False, True, False], chunk.out)

    return edit
