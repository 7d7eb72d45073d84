"""How the deltas of several pairs lie to each other: their dot products, part by part."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from deltaedit import floats, kernels, logs
from deltaedit.checkpoints import Checkpoint, TensorInfo, added_rows, check_match
from deltaedit.errors import UserError
from deltaedit.parts import Part, part_of

CHUNK = 1 << 18  # entries of each delta in memory at once, per thread

Pair = tuple[Checkpoint, Checkpoint]  # base and post


def compare(
    pairs: Mapping[str, Pair], *, threads: int | None = None, chunk: int = CHUNK
) -> list[dict[str, Any]]:
    """Return norms and cosines of the pairs' deltas in every part of the model.

        delta = float32(post) - float32(base)
        dot = sum_i first_i second_i, over all tensors of a layer and group, in float64
        norm_first = sqrt(sum_i first_i^2), and of second alike
        cosine = dot / (norm_first norm_second), NaN where a delta is zero

    All deltas are read side by side, run by run, so that memory holds runs, not tensors: 4 `chunk`
    bytes for each delta and thread. Tied weights count once, tensors that are not floating point
    not at all, and of matrices that differ in rows (added tokens) the first rows, which all share.
    The numbers depend neither on `threads` nor on `chunk`.

    Args:
        pairs: name -> base and post, of one architecture; each pair may be of its own dtype.
        threads: how many tensors are read at once; by default one per processor.
        chunk: entries per run, rounded up to a multiple of `kernels.TILE`.

    Returns:
        One row per layer (None outside the layers), group and couple of pairs, a pair with itself
        included, in the order of `pairs`: layer, group, first, second, dot, cosine, norm_first,
        norm_second and entries, how many numbers each delta has in the part. Sums over parts are
        those of larger parts: dots and squared norms add up.

    Raises:
        UserError: the checkpoints do not match, or hold a number that is not finite.

    Source: Cao et al. 2025, ParamDelta for Direct Weight Mixing, section 2.3.
    """
    sizes = _common_entries(pairs)
    reader = _Reader(list(pairs.values()), sizes, -(-chunk // kernels.TILE) * kernels.TILE)
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    products: dict[Part, np.ndarray] = {}
    entries: dict[Part, int] = {}
    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:
        found = logs.progress(pool.map(reader.products, names), "compare deltas", total=len(names))
        for name, of_tensor in zip(names, found, strict=True):
            if not np.isfinite(of_tensor).all():
                wrong = list(pairs.values())[int(np.argmin(np.isfinite(of_tensor.diagonal())))]
                raise UserError(
                    f"{wrong[0].folder}, {wrong[1].folder}: {name!r} holds NaN or infinite numbers"
                )
            part = part_of(name)
            products[part] = products.get(part, 0) + of_tensor
            entries[part] = entries.get(part, 0) + sizes[name]
    in_order = sorted(products, key=lambda part: (part.layer is None, part.layer, part.group))
    return [
        {"layer": part.layer, "group": part.group, **couple, "entries": entries[part]}
        for part in in_order
        for couple in _couples(list(pairs), products[part])
    ]


def _couples(names: Sequence[str], products: np.ndarray) -> list[dict[str, Any]]:
    """Return each two pairs, and each with itself, given their dot products below the diagonal."""
    return [
        {
            "first": names[i],
            "second": names[j],
            "dot": (dot := float(products[j, i])),
            "cosine": dot / scale
            if (scale := math.sqrt(products[i, i] * products[j, j]))
            else math.nan,
            "norm_first": math.sqrt(products[i, i]),
            "norm_second": math.sqrt(products[j, j]),
        }
        for i in range(len(names))
        for j in range(i, len(names))
    ]


def _common_entries(pairs: Mapping[str, Pair]) -> dict[str, int]:
    """Return how many first entries of each floating-point tensor all pairs have.

    Raises:
        UserError: a base and its post do not match, or two bases differ in more than rows.
    """
    for base, post in pairs.values():
        check_match(base, post)
    first, *others = (base for base, _ in pairs.values())
    for other in others:
        _check_architecture(first, other)
    sizes = {}
    for name, info in first.tensors.items():
        if info.is_floating_point:
            ends = [end.tensors[name] for pair in pairs.values() for end in pair]
            sizes[name] = min(end.size for end in ends)
            if sizes[name] < max(end.size for end in ends):
                rows = sizes[name] // info.shape[1]
                logs.note(f"{name}: compared in the first {rows} rows, which all pairs have")
    return sizes


def _check_architecture(one: Checkpoint, other: Checkpoint) -> None:
    def alike(ours: TensorInfo, theirs: TensorInfo) -> bool:
        more_rows = added_rows(ours, theirs) or added_rows(theirs, ours)
        return ours.is_floating_point == theirs.is_floating_point and (
            ours.shape == theirs.shape or more_rows > 0
        )

    for name in sorted(one.tensors.keys() | other.tensors.keys()):
        ours, theirs = one.tensors.get(name), other.tensors.get(name)
        if ours is None or theirs is None:
            lacking = one if ours is None else other
            difference = f"{lacking.folder} lacks {name!r}"
        elif not alike(ours, theirs):
            difference = f"{name!r} is {list(ours.shape)} in one, {list(theirs.shape)} in the other"
        else:
            continue
        raise UserError(
            f"{one.folder} and {other.folder} do not match: {difference};"
            " deltas are compared between checkpoints of one architecture"
        )


class _Reader(threading.local):
    """Multiplies the deltas of one tensor run by run, in memory that each thread uses again."""

    def __init__(self, pairs: Sequence[Pair], sizes: Mapping[str, int], chunk: int) -> None:
        self.pairs, self.sizes = pairs, sizes
        self.chunk = min(chunk, max(sizes.values(), default=1))
        self.deltas = np.empty(len(pairs) * self.chunk, np.float32)
        self.stored = np.empty((2, 0), np.uint8)

    def products(self, name: str) -> np.ndarray:
        """Return the dot products of the deltas of a tensor, below and on the diagonal."""
        out = np.zeros((len(self.pairs), len(self.pairs)))
        for start in range(0, self.sizes[name], self.chunk):
            size = min(self.chunk, self.sizes[name] - start)
            deltas = self.deltas[: len(self.pairs) * size].reshape(-1, size)
            for pair, delta in zip(self.pairs, deltas, strict=True):
                self._subtract(pair, name, start, delta)
            kernels.add_products(deltas, out)
        return out

    def _subtract(self, pair: Pair, name: str, start: int, delta: np.ndarray) -> None:
        base, post = pair
        info = base.tensors[name]
        size = delta.size * info.itemsize
        if self.stored.shape[1] < size:
            self.stored = np.empty((2, self.chunk * info.itemsize), np.uint8)
        before, after = self.stored[:, :size]
        base.read(name, start, before)
        post.read(name, start, after)
        floats.difference(before, after, info.dtype, delta)
