"""Sorted magnitudes without sorting: exact thresholds and means of blocks, found by counting.

A cut at rank k has the k smallest magnitudes below it; of equal magnitudes the earlier entries are
the smaller ones. Magnitudes are handled as the bits of float32, whose order is that of the numbers.
"""

from collections.abc import Callable, Iterable, Sequence
from math import fsum

import numpy as np

from deltaedit import kernels

Runs = Callable[[], Iterable[np.ndarray]]

_KEYS = 1 << 17  # of the hash table; it is left for bins once half of it is taken
_FLUSH = 1 << 23  # entries that fit the packed counts of kernels.count_bins


class Blocks:
    """The blocks that cuts make of one tensor, for one walk over its entries in order.

    `counts` and `means` (float32) have one entry per block; the mean of an empty block is 0.
    """

    def __init__(
        self,
        thresholds: np.ndarray,
        below: np.ndarray,
        equal: np.ndarray,
        counts: np.ndarray,
        means: np.ndarray,
    ) -> None:
        """Take each cut's threshold (bits), how many equal it, and how many of those are below."""
        self.counts, self.means = counts, means
        self._thresholds = thresholds
        self._edges = np.where(below > 0, thresholds + np.uint32(1), thresholds)
        undecided = (below > 0) & (below < equal)
        self._open = np.flatnonzero(undecided)  # cuts with equal entries still to go below
        self._left = below[undecided]

    def set_levels(self, delta: np.ndarray, levels: np.ndarray, out: np.ndarray) -> None:
        """Write the level of each entry's block with the entry's sign, for the next run of entries.

        Args:
            delta: the next run of entries in the tensor's order, float32.
            levels: one number per block, not negative, float32.
            out: float32, size of `delta`.
        """
        self._look_up(kernels.set_levels, delta, levels.view(np.uint32), out)

    def keep(self, delta: np.ndarray, kept: Sequence[bool], out: np.ndarray) -> None:
        """Write the entries of the kept blocks, and zero for the others, as `set_levels` does."""
        masks = np.where(kept, np.uint32(0xFFFFFFFF), np.uint32(0))
        self._look_up(kernels.keep_blocks, delta, masks, out)

    def _look_up(
        self, loop: Callable[..., None], delta: np.ndarray, values: np.ndarray, out: np.ndarray
    ) -> None:
        bits, into = delta.view(np.uint32), out.view(np.uint32)
        places = np.empty(len(self._open), np.int64)  # where an equal entry first goes above
        kernels.find_equal(bits, self._thresholds[self._open], self._left, places)
        turns = [(places[i], self._open[i]) for i in np.flatnonzero(places >= 0)]
        self._open, self._left = self._open[places < 0], self._left[places < 0]
        start = 0
        for place, j in sorted(turns):
            loop(bits[start:place], self._edges, values, into[start:place])
            self._edges[j] = self._thresholds[j]
            start = place
        loop(bits[start:], self._edges, values, into[start:])


class Magnitudes:
    """What is known of a tensor's magnitudes after counting: enough to cut them at some ranks."""

    def __init__(self, size: int, cuts: Iterable[Sequence[int]], runs: Runs) -> None:
        """Count, in one pass over the entries, or two where there are many different ones.

        Args:
            size: number of entries.
            cuts: every sequence of ranks, each in [0, size], that `blocks` will be asked for.
            runs: returns the entries anew, in order: runs of float32.
        """
        self.size = size
        self._bits = np.empty(0, np.uint32)
        self._counts = np.empty(0, np.int64)
        self._sums = np.empty((2, 0))  # of each row, as two exact terms
        ranks = sorted({rank for some in cuts for rank in some})
        if ranks and size and not self._tally(runs()):
            self._count_bins(runs, ranks)
        self._upto = np.cumsum(self._counts)
        # One block has the mean of all, the same whatever else is asked for.
        self._mean = mean_magnitude(size, runs) if any(not len(some) for some in cuts) else None

    def _tally(self, runs: Iterable[np.ndarray]) -> bool:
        """Count every magnitude on its own, if there are few; deltas of 16-bit floats have few."""
        keys, counts = np.full(_KEYS, kernels.NO_KEY), np.zeros(_KEYS, np.int64)
        room = _KEYS // 2
        for run in runs:
            read, room = kernels.tally(run.view(np.uint32), keys, counts, room)
            if read < run.size:
                return False
        taken = np.flatnonzero(keys != kernels.NO_KEY)
        order = taken[np.argsort(keys[taken])]
        self._set(keys[order], counts[order])
        return True

    def _set(self, bits: np.ndarray, counts: np.ndarray) -> None:
        products = bits.view(np.float32).astype(np.float64) * counts
        self._bits, self._counts = bits, counts
        self._sums = np.stack([products, np.zeros_like(products)])

    def _count_bins(self, runs: Runs, ranks: Sequence[int]) -> None:
        """Count by the upper 15 bits, then all bits in the bins that hold a cut (radix select)."""
        packed, entries = np.zeros(1 << 15, np.uint64), 0
        counts, lower = np.zeros(1 << 15, np.int64), np.zeros(1 << 15, np.int64)
        for run in runs():
            for start in range(0, run.size, _FLUSH):
                piece = run[start : start + _FLUSH].view(np.uint32)
                if entries + piece.size > _FLUSH:
                    counts += (packed >> np.uint64(40)).astype(np.int64)
                    lower += (packed & np.uint64((1 << 40) - 1)).astype(np.int64)
                    packed[:], entries = 0, 0
                kernels.count_bins(piece, packed)
                entries += piece.size
        counts += (packed >> np.uint64(40)).astype(np.int64)
        lower += (packed & np.uint64((1 << 40) - 1)).astype(np.int64)

        chosen = np.unique(np.searchsorted(np.cumsum(counts), ranks))
        slots = np.full(1 << 15, -1, np.int32)
        slots[chosen] = np.arange(len(chosen))
        fine = np.zeros((len(chosen), 1 << 16), np.int64)
        buffer = np.empty(1, np.uint32)
        for run in runs():
            if buffer.size <= run.size:
                buffer = np.empty(run.size + 1, np.uint32)
            kernels.count_within(run.view(np.uint32), slots, fine, buffer)

        row, low = fine.nonzero()
        self._set((chosen[row].astype(np.uint32) << 16) | low.astype(np.uint32), fine[row, low])
        others = np.setdiff1d(counts.nonzero()[0], chosen)
        start = (others.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        unit = ((others.astype(np.uint32) << 16) + np.uint32(1)).view(np.float32) - start
        bits = np.concatenate([self._bits, others.astype(np.uint32) << 16])
        sums = np.stack([start * counts[others], unit * lower[others]])
        order = np.argsort(bits)
        self._bits = bits[order]
        self._counts = np.concatenate([self._counts, counts[others]])[order]
        self._sums = np.concatenate([self._sums, sums], axis=1)[:, order]

    def blocks(self, ranks: Sequence[int], *, equal_above: bool = False) -> Blocks:
        """Return the blocks that cuts at ascending `ranks` make, ready for a walk.

        With `equal_above` every entry that equals a cut's threshold is above the cut; counts and
        means are then still those of the ranks.
        """
        if not ranks:
            nothing = np.empty(0, np.uint32)
            means = np.array([self._mean], np.float32)
            return Blocks(nothing, np.empty(0, np.int64), nothing, np.array([self.size]), means)
        cuts = [self._cut(rank) for rank in ranks]
        bounds = [0, *ranks, self.size]
        counts = np.diff(bounds)
        means = np.zeros(len(counts), np.float32)
        if len(self._counts):
            ends = [(0, 0), *((row, below) for _, below, _, row in cuts), (len(self._counts), 0)]
            for j, count in enumerate(counts):
                if count:
                    means[j] = self._sum(ends[j], ends[j + 1]) / count
        thresholds, below, equal, _ = zip(*cuts, strict=True)
        if equal_above:
            below = [0] * len(below)
        return Blocks(
            np.array(thresholds, np.uint32),
            np.array(below, np.int64),
            np.array(equal, np.int64),
            counts,
            means,
        )

    def _cut(self, rank: int) -> tuple[int, int, int, int]:
        """Return the threshold of a cut, how many entries equal it and are below, all, its row."""
        if rank <= 0:
            return 0, 0, 0, 0
        if rank >= self.size:
            return int(kernels.MAGNITUDE), 0, 0, len(self._counts)
        row = int(np.searchsorted(self._upto, rank))
        equal = int(self._counts[row])
        below = rank - int(self._upto[row]) + equal
        return int(self._bits[row]), below, equal, row

    def _sum(self, start: tuple[int, int], end: tuple[int, int]) -> float:
        """Add up magnitudes exactly from one (row, entries of it passed) to another."""
        (first, passed), (last, more) = start, end
        terms = self._sums[:, first:last].flatten().tolist()
        for row, entries in ((first, -passed), (last, more)):
            if entries:
                terms.append(float(self._bits[row : row + 1].view(np.float32)[0]) * entries)
        return fsum(terms)


def mean_magnitude(size: int, runs: Runs) -> np.float32:
    """Return the mean magnitude of a tensor's entries, summed in float64; 0 if there are none."""
    lanes = np.zeros(kernels.LANES)
    start = 0
    for run in runs():
        kernels.add_magnitudes(run, start, lanes)
        start += run.size
    return np.float32(fsum(lanes) / size) if size else np.float32(0)
