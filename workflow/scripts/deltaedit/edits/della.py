"""DELLA (MAGPRUNE): drop at random, small magnitudes more often, and rescale the rest."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from deltaedit.edits._chunks import Chunk, Editor, whole
from deltaedit.kernels import compiled, rank_rows, uniform
from deltaedit.streams import Stream

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Params:
    drop_rate: float  # p, mean probability in each row that an entry is dropped
    window: float  # probabilities run from p + window/2 (smallest) to p - window/2 (largest)
    rescale: bool | Literal["l1"] = True  # divide each kept entry by its probability of being kept

    def __post_init__(self) -> None:
        low, high = self.drop_rate - self.window / 2, self.drop_rate + self.window / 2
        if not (self.window >= 0 and low >= 0 and high < 1):
            raise ValueError(
                "drop_rate - window/2 must be at least 0 and drop_rate + window/2 below 1, got"
                f" drop_rate {self.drop_rate} and window {self.window}"
            )


EXAMPLE = Params(drop_rate=0.3, window=0.14)
ROWS = True


def apply(delta: Tensor, params: Params, *, rng: Stream) -> Tensor:
    """Zero each entry with its own probability P_i and divide the others by 1 - P_i.

        out_i = m_i * delta_i / (1 - P_i),  m_i ~ Bernoulli(1 - P_i),  E[out] = delta
        P_i = p + window/2 - r_i/(n - 1) * window,  r_i = 0 (smallest) ... n - 1 in a row of n

    With `rescale` off the others stay as they are. With window 0 this is DARE. Equal magnitudes
    rank in their order; an entry alone in its row has p.

    Args:
        delta: post-trained minus pretrained weights of one tensor, any shape, float32; its rows
            are those of the last axis.
        params: see `Params`.
        rng: the tensor's random stream.

    Returns:
        The edited delta, shape and dtype of `delta`.

    Scope: row. Source: Deep et al. 2024, arXiv:2406.11617, as in the authors' code.
    Differs: mergekit multiplies a tensor's kept entries by the one factor that gives back its L1
    norm, `rescale: l1` here; the authors' ranks lose precision in 16 bits and break ties in no
    order.
    """
    return whole(sys.modules[__name__], delta, params, rng)


def editor(params: Params, stream: Stream) -> Editor:
    """Return the function that edits a chunk."""

    def edit(chunk: Chunk) -> None:
        ranks = np.empty(chunk.delta.size, np.int32)
        rank_rows(chunk.delta.view(np.uint32), chunk.row, ranks)
        dropped = drop_probabilities(chunk.row, params)
        factors = 1 / (1 - dropped) if params.rescale is True else np.ones_like(dropped)
        by_rank = dropped.astype(np.float32), factors.astype(np.float32)
        _drop(chunk.delta, ranks, *by_rank, stream.key, chunk.start, chunk.out)

    return edit


def drop_probabilities(row: int, params: Params) -> np.ndarray:
    """Return the drop probability of each rank in a row, smallest magnitude first; float64."""
    if row == 1:
        return np.array([params.drop_rate])
    return params.drop_rate + params.window * np.linspace(0.5, -0.5, row)


@compiled
def _drop(delta, ranks, dropped, factors, key, start, out):
    for i in range(delta.size):
        rank = ranks[i]
        kept = delta[i] * factors[rank]
        out[i] = np.float32(0) if uniform(key, start + i) < dropped[rank] else kept
