"""Combine the deltas of several pairs: weighted, edited first if wanted, with TIES' election."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from deltaedit import edits
from deltaedit.edits._chunks import Chunk, Chunks, Editor, editors, whole
from deltaedit.kernels import compiled
from deltaedit.streams import Stream

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Params:
    weights: tuple[float, ...] = (1.0,)  # w_i, of the pair's own delta and of each further one
    edit: Mapping[str, Any] = field(default_factory=dict)  # a method and its options, done first
    elect: bool = False  # keep only the entries whose sign is that of the weighted sum
    mean: bool = False  # divide by the weights of the entries that took part
    scale: float = 1.0  # lambda, factor of the result

    def __post_init__(self) -> None:
        if not self.weights:
            raise ValueError("weights must have one number per delta, got none")
        for name, values in (("weights", self.weights), ("scale", [self.scale])):
            if not all(-100 <= value <= 100 for value in values):
                raise ValueError(f"{name} must be in [-100, 100], got {getattr(self, name)}")
        if self.edit:
            method, params = self.inner
            alone = getattr(params, "over", "") == "model" or getattr(params, "by", "") == "product"
            if alone or not hasattr(method, "editor"):
                raise ValueError(f"edit: {self.edit['method']} cannot be done within combine")

    @property
    def inner(self) -> tuple[Any, Any]:
        """The method and the parameters of the edit that is done first."""
        options = dict(self.edit)
        if "method" not in options:
            raise ValueError("edit: 'method' is missing")
        return edits.parse(options.pop("method"), options)


EXAMPLE = Params(weights=(0.5,))
ROWS = True  # for a first edit that wants them


def apply(delta: Tensor, params: Params, *, rng: Stream, deltas: Sequence[Tensor] = ()) -> Tensor:
    """Add up the deltas of several pairs.

        out = lambda * sum_i w_i D_i, D_i = delta, *deltas, each edited first if `edit` says so

    With `elect` the sum runs over the entries whose sign is that of sum_i w_i D_i, with `mean` it
    is divided by the sum of w_i over the entries that are not 0 (and elected): TIES is both, with
    `edit: {method: ties, ...}`. The result goes onto the base that the sweep names.

    Args:
        delta: post-trained minus pretrained weights of one tensor, any shape, float32.
        params: see `Params`.
        rng: the tensor's random stream, for a random first edit; each delta has its own.
        deltas: of the further pairs, shape of `delta`.

    Returns:
        The combined delta, shape and dtype of `delta`.

    Raises:
        ValueError: not as many weights as deltas.

    Scope: element. Source: Cao et al. 2025, ParamDelta, eq. 2 and 4; election and disjoint mean:
    Yadav et al. 2023, arXiv:2306.01708, steps 2 and 3.
    Differs: where the weighted sum is exactly 0 the sign is +, as in mergekit; Yadav et al. take
    the sign of most entries of the model.
    """
    return whole(sys.modules[__name__], delta, params, rng, deltas=deltas)


def prepare(params: Params, stream: Stream, size: int, chunks: Chunks) -> Editor:
    """Return the function that edits a chunk, after the passes that the first edit needs."""
    weights = np.array(params.weights, np.float32)
    first = []
    if params.edit:
        method, inner = params.inner
        for i in range(len(weights)):
            alone = partial(_alone, chunks, i)
            first += editors(method, [(inner, stream.child(i))], size, alone)

    def edit(chunk: Chunk) -> None:
        deltas = _deltas(chunk)
        if len(deltas) != len(weights):
            raise ValueError(f"weights: {len(weights)} numbers for {len(deltas)} deltas")
        stacked = np.stack(deltas)
        for editor, before, out in zip(first, deltas, stacked, strict=False):
            editor(replace(chunk, delta=before, out=out, deltas=()))
        _combine(stacked, weights, params.elect, params.mean, np.float32(params.scale), chunk.out)

    return edit


def _deltas(chunk: Chunk) -> list[np.ndarray]:
    return [chunk.delta, *chunk.deltas]


def _alone(chunks: Chunks, i: int) -> Iterator[Chunk]:
    """Yield the chunks of one delta alone; of too few deltas `edit` will complain."""
    for chunk in chunks():
        deltas = _deltas(chunk)
        yield replace(chunk, delta=deltas[min(i, len(deltas) - 1)], deltas=())


@compiled
def _combine(deltas, weights, elect, mean, scale, out):
    for j in range(out.size):
        total = np.float32(0)
        for i in range(weights.size):
            total += weights[i] * deltas[i, j]
        if elect or mean:
            elected, total, parts = total >= 0, np.float32(0), np.float32(0)
            for i in range(weights.size):
                term = weights[i] * deltas[i, j]
                if term != 0 and (not elect or (term > 0) == elected):
                    total += term
                    parts += weights[i]
            if mean and parts != 0:
                total /= parts
        out[j] = scale * total
