"""Cuts of sorted magnitudes, found by counting, are those of a sort."""

import numpy as np
import pytest

from deltaedit import kernels, magnitudes
from deltaedit.magnitudes import Magnitudes, mean_magnitude


def entries(kind):
    draw = np.random.default_rng(0)
    match kind:
        case "few":  # the table holds them all
            return (draw.standard_normal(5_000) * 8).round().astype(np.float32) / 8
        case "many":  # more different magnitudes than the table takes
            return draw.standard_normal(200_000, dtype=np.float32)
        case "one bin":  # that differ in their last bits only
            return np.float32(1) + draw.integers(0, 1 << 16, 150_000).astype(np.float32) * 2**-23
        case "wide":  # from subnormal to huge
            return (10.0 ** draw.uniform(-42, 38, 150_000)).astype(np.float32)


def runs(values, step):
    return lambda: (values[start : start + step] for start in range(0, len(values), step))


@pytest.mark.parametrize("kind", ["few", "many", "one bin", "wide"])
@pytest.mark.parametrize(
    "ranks", [[1], [7, 8, 9], [100, 2_500, 4_999], [0, 2_000, "all"], [3, 3, 9]]
)
def test_blocks_are_those_of_a_stable_sort(kind, ranks):
    values = entries(kind)
    ranks = [len(values) if rank == "all" else rank for rank in ranks]
    found = Magnitudes(len(values), [ranks], runs(values, 777)).blocks(ranks)
    order = np.argsort(np.abs(values), kind="stable")
    pieces = np.split(order, ranks)
    assert found.counts.tolist() == [len(piece) for piece in pieces]
    wanted = np.empty(len(values), np.float32)
    for j, piece in enumerate(pieces):
        wanted[piece] = j
        if len(piece):
            mean = np.abs(values[piece]).astype(np.float64).mean()
            assert found.means[j] == pytest.approx(mean, rel=1e-6)
    out = np.empty_like(wanted)
    levels = np.arange(len(pieces), dtype=np.float32)
    for start in range(0, len(values), 1_000):
        some = slice(start, start + 1_000)
        found.set_levels(values[some], levels, out[some])
    assert np.array_equal(np.abs(out), wanted)
    assert np.array_equal(np.signbit(out), np.signbit(values))


def test_counting_does_not_depend_on_the_runs():
    values = entries("many")
    cuts = [[1_000, 50_000], []]
    one = Magnitudes(len(values), cuts, runs(values, len(values)))
    other = Magnitudes(len(values), cuts, runs(values, 4_321))
    for ranks in cuts:
        assert np.array_equal(one.blocks(ranks).means, other.blocks(ranks).means)
    assert mean_magnitude(len(values), runs(values, 13)) == one.blocks([]).means[0]


@pytest.mark.parametrize("step", [1, 5, 13, 1_000])
def test_each_lane_adds_in_the_order_of_the_tensor(step):
    values = entries("wide")[:3_000]
    whole, parts = np.zeros(kernels.LANES), np.zeros(kernels.LANES)
    kernels.add_magnitudes(values, 0, whole)
    for start in range(0, len(values), step):
        kernels.add_magnitudes(values[start : start + step], start, parts)
    assert np.array_equal(whole, parts)
    assert whole.sum() == pytest.approx(np.abs(values.astype(np.float64)).sum(), rel=1e-12)


def test_means_do_not_depend_on_how_magnitudes_are_counted(monkeypatch):
    values = entries("few")
    table = Magnitudes(len(values), [[1_000, 3_000]], runs(values, 999)).blocks([1_000, 3_000])
    monkeypatch.setattr(magnitudes, "_KEYS", 4)
    bins = Magnitudes(len(values), [[1_000, 3_000]], runs(values, 999)).blocks([1_000, 3_000])
    assert np.array_equal(table.means, bins.means)


def test_packed_counts_are_read_before_they_overflow(monkeypatch):
    monkeypatch.setattr(magnitudes, "_FLUSH", 1_000)
    values = entries("many")
    found = Magnitudes(len(values), [[60_000]], runs(values, 7_777)).blocks([60_000])
    assert found.counts.tolist() == [60_000, 140_000]
    smallest = np.sort(np.abs(values))[:60_000].astype(np.float64).mean()
    assert found.means[0] == pytest.approx(smallest, rel=1e-6)


def test_equal_entries_can_all_go_above():
    values = np.array([1, 2, 2, 2, 3], np.float32)
    blocks = Magnitudes(5, [[2]], runs(values, 2)).blocks([2], equal_above=True)
    out = np.empty_like(values)
    blocks.keep(values, [False, True], out)
    assert out.tolist() == [0, 2, 2, 2, 3]


@pytest.mark.parametrize("numbers", [[0.1, -0.0, 3e38, 1e-40], [float("inf"), -float("inf")]])
def test_bfloat16_rounds_to_the_nearest_and_ties_to_even(numbers):
    import torch

    draw = np.random.default_rng(0).integers(0, 1 << 32, 100_000, dtype=np.uint32)
    halves = (draw & np.uint32(0xFFFF0000)) | np.uint32(0x8000)  # exactly between two
    values = np.concatenate([draw.view(np.float32), halves.view(np.float32), np.float32(numbers)])
    values = values[~np.isnan(values)]
    base = np.zeros(values.size, np.uint16)
    out = np.empty_like(base)
    kernels.add_bfloat16(base, base, np.full_like(values, np.nan), values, out)
    wanted = (torch.from_numpy(values) + 0).bfloat16().view(torch.int16).numpy().view(np.uint16)
    assert np.array_equal(out, np.where(values == 0, 0, wanted))


def test_nan_stays_nan_in_bfloat16():
    values = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001], np.uint32).view(np.float32)
    base, out = np.zeros(3, np.uint16), np.empty(3, np.uint16)
    kernels.add_bfloat16(base, base, values, values, out)
    assert np.all(out & 0x7FFF > 0x7F80)
