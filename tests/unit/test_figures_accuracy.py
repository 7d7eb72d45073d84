"""Figures of scores draw the numbers of their variants, with one standard error."""

import math

import numpy as np
import pytest

from deltaedit.errors import UserError
from deltaedit.figures import (
    _style,
    accuracy_by_bits,
    accuracy_by_drop_rate,
    accuracy_by_magnitude,
    accuracy_by_size,
    gap_along_alpha,
)

from .figure_tables import (
    BASE,
    POST,
    SCORES,
    TASKS,
    bitdelta,
    dare,
    expo,
    low_rank,
    make,
    marks,
    of_pair,
    scores,
    sizes,
    texts,
    together,
)


def select(kind, table):
    return kind.select(table, kind.Params())


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


# --- accuracy by drop rate ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def accuracy_figure():
    return make(accuracy_by_drop_rate, SCORES)


def point(drawn, task, series, k=None, p=None):
    rows = drawn[(drawn["task"] == task) & (drawn["series"] == series)]
    rows = rows if k is None else rows[(rows["dropped_scale"] == k) & (rows["drop_rate"] == p)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_accuracies_are_means_over_seeds_with_their_standard_error():
    table = scores(
        (POST, (0.75, 0.5), 0.03),
        (dare(0.5, seed=0), (0.125, 0.25), 0.01),
        (dare(0.5, seed=1), (0.25, 0.25), 0.02),
        (dare(0.5, seed=4), (0.75, 0.25), 0.03),
        (dare(0.5, seed=4, sweep="again"), (0.75, 0.25), 0.03),
        (dare(0.5, 1.5), (0.125, 0.5), 0.04),
    )
    drawn = accuracy_by_drop_rate.select(table, accuracy_by_drop_rate.Params())
    assert len(drawn) == 6
    several = point(drawn, "sums", "dare", 0, 0.5)
    assert (several["accuracy"], several["seeds"]) == (0.375, 3)
    squares = 0.25**2 + 0.125**2 + 0.375**2
    assert several["stderr"] == pytest.approx((squares / 2 / 3) ** 0.5)
    assert point(drawn, "facts", "dare", 0, 0.5)["stderr"] == 0
    single = point(drawn, "facts", "dare", 1.5, 0.5)
    assert (single["accuracy"], single["stderr"], single["seeds"]) == (0.5, 0.04, 1)
    assert point(drawn, "sums", "post")["accuracy"] == 0.75


def test_a_panel_per_task_in_order_has_a_line_per_series(accuracy_figure):
    assert [axes.get_title(loc="left") for axes in accuracy_figure.axes] == list(TASKS)
    for axes, ks in zip(accuracy_figure.axes, [(37.5, 12.5), (50, 37.5)], strict=True):
        labels = [bars.get_label() for bars in axes.containers]
        assert labels == ["$k$ = −0.5", "$k$ = 0 (DARE)", "drop only"]
        marks = axes.containers[0].lines[0]
        assert list(marks.get_xdata()) == [0.25, 0.75]
        assert list(marks.get_ydata()) == list(ks)
    legend = [text.get_text() for text in accuracy_figure.legends[0].get_texts()]
    assert legend == ["$k$ = −0.5", "$k$ = 0 (DARE)", "drop only"]


def test_bars_span_one_standard_error_on_each_side(accuracy_figure):
    axes = accuracy_figure.axes[1]
    (bars,) = axes.containers[0].lines[2]
    ends = [segment[:, 1] for segment in bars.get_segments()]
    assert np.allclose(ends, [(47, 53), (33.5, 41.5)])


def test_plain_dare_is_the_thickest_line_and_drop_only_alone_is_dashed(accuracy_figure):
    axes = accuracy_figure.axes[0]
    lines = {line.get_label(): line for line in axes.lines if line.get_label()[0] != "_"}
    assert max(lines, key=lambda name: lines[name].get_linewidth()) == "$k$ = 0 (DARE)"
    assert [n for n, line in lines.items() if line.get_linestyle() == "--"] == ["drop only"]


def test_base_and_post_are_named_lines_at_their_accuracy(accuracy_figure):
    for axes, heights in zip(accuracy_figure.axes, [(12.5, 75), (25, 87.5)], strict=True):
        flat = [line.get_ydata()[0] for line in axes.lines if list(line.get_xdata()) == [0, 1]]
        assert tuple(sorted(flat)) == heights
        names = {text.get_text(): text.xy[1] for text in axes.texts}
        assert (names["base"], names["post"]) == heights


def test_accuracy_axes_are_labelled_and_show_0_to_100_percent(accuracy_figure):
    assert accuracy_figure.axes[0].get_ylabel() == "accuracy (%)"
    for axes in accuracy_figure.axes:
        assert axes.get_xlabel() == "drop rate $p$"
        assert -10 < axes.get_ylim()[0] < 0
        assert 100 < axes.get_ylim()[1] < 110
        assert "acc" in [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("count, per_row", [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3), (8, 3)])
def test_panels_wrap_evenly(count, per_row):
    table = scores((POST, 0.9, 0.01), (dare(0.5), 0.8, 0.01), tasks=range(count))
    figure = make(accuracy_by_drop_rate, table.astype({"task": str}))
    assert len(figure.axes) == count
    spots = [axes.get_subplotspec() for axes in figure.axes]
    assert sum(spot.is_first_row() for spot in spots) == per_row
    assert all(bool(axes.get_xlabel()) for axes in figure.axes[-per_row:])


# --- accuracy by bits -----------------------------------------------------------------------------


def two_pairs(*measured, **more):
    """Make scores of the same variants in two pairs, of the other one half as high."""
    table = scores(*measured, **more)
    return together(table, table.assign(pair="other", value=table["value"] / 2))


BITS = two_pairs(
    (BASE, 0.125, 0.01),
    (POST, (0.75, 0.5), 0.03),
    (bitdelta(), (0.25, 0.125), 0.0625),
    (bitdelta(8), (0.5, 0.375), 0.125),
    (bitdelta(2), (0.375, 0.25), 0.0625),
    (bitdelta(8, scale_multiple=2.0), 1.0, 0.01),
    (bitdelta(magnitude="normal"), 1.0, 0.01),
    (dare(0.5), 1.0, 0.01),
)


def test_bits_are_the_logarithm_of_the_blocks_and_post_has_none():
    drawn = select(accuracy_by_bits, BITS)
    assert len(drawn) == 2 * 2 * 4
    sums = drawn[(drawn["task"] == "sums") & (drawn["pair"] == "other")]
    found = dict(zip(sums["bits"].fillna(-1), sums["accuracy"], strict=True))
    assert found == {0: 0.125, 3: 0.25, 1: 0.1875, -1: 0.375}


def test_accuracies_by_bits_are_means_over_seeds_and_a_shared_variant_counts_once():
    table = scores(
        (POST, 0.5, 0.03),
        (bitdelta(2, seed=0), 0.25, 0.01),
        (bitdelta(2, seed=1), 0.75, 0.01),
        (bitdelta(2, seed=1, sweep="again"), 0.75, 0.01),
        tasks=["sums"],
    )
    [row] = select(accuracy_by_bits, table).dropna(subset=["bits"]).itertuples()
    assert (row.accuracy, row.seeds) == (0.5, 2)
    assert row.stderr == pytest.approx(math.sqrt(2 * 0.25**2 / 2))


def test_a_panel_per_task_has_a_line_per_pair_and_the_level_of_its_post():
    figure = make(accuracy_by_bits, BITS)
    assert titles(figure) == list(TASKS)
    assert texts(figure) == ["demo", "other", "post-trained"]
    axes = figure.axes[1]
    points, ends = marks(axes.containers[0])
    assert points == [(0, 12.5), (1, 25), (3, 37.5)]
    assert ends == [(6.25, 18.75), (18.75, 31.25), (25, 50)]
    points, _ = marks(axes.containers[1])
    assert points == [(0, 6.25), (1, 12.5), (3, 18.75)]
    levels = {line.get_color(): line.get_ydata()[0] for line in axes.lines if _is_flat(line)}
    of_pairs = [bars.lines[0].get_color() for bars in axes.containers]
    assert levels == dict(zip(of_pairs, (50, 25), strict=True))
    assert axes.get_xlabel() == "bits per magnitude ($\\log_2 M$)"
    assert figure.axes[0].get_ylabel() == "accuracy (%)"


def _is_flat(line):
    return list(line.get_xdata()) == [0, 1]


@pytest.mark.parametrize("kind", [accuracy_by_bits, accuracy_by_magnitude])
def test_two_signs_of_zero_are_not_averaged(kind):
    table = scores((POST, 0.5, 0.1), (bitdelta(), 0.25, 0.1), (bitdelta(zero="plus"), 0.5, 0.1))
    with pytest.raises(UserError, match="several values of zero"):
        select(kind, table)


# --- accuracy by magnitude ------------------------------------------------------------------------

MAGNITUDES = scores(
    (BASE, (0.125, 0.25), 0.01),
    (POST, (0.75, 0.5), 0.03),
    (bitdelta(scale_multiple=2.0), (0.25, 0.125), 0.0625),
    (bitdelta(scale_multiple=0.5), (0.375, 0.25), 0.0625),
    (bitdelta(magnitude="uniform", seed=0), (0.5, 0.5), 0.125),
    (bitdelta(magnitude="uniform", seed=1), (0.0, 0.25), 0.125),
    (bitdelta(2), 1.0, 0.01),
)


def test_magnitudes_are_told_apart_by_kind_and_multiple_and_are_means_over_seeds():
    drawn = select(accuracy_by_magnitude, MAGNITUDES)
    sums = drawn[drawn["task"] == "sums"].set_index(["magnitude", "scale_multiple"])
    assert sums["accuracy"]["mean"].to_dict() == {2: 0.25, 0.5: 0.375}
    uniform = sums.loc[("uniform", 1.0)]
    assert (uniform["accuracy"], uniform["stderr"], uniform["seeds"]) == (0.25, 0.25, 2)
    assert [sums["accuracy"][end].item() for end in ("base", "post")] == [0.125, 0.75]
    assert len(drawn) == 2 * 5


def test_magnitudes_are_lines_between_base_and_post():
    figure = make(accuracy_by_magnitude, MAGNITUDES)
    assert titles(figure) == list(TASKS)
    assert texts(figure) == ["degenerate", "uniform"], "no line for what was not measured"
    axes = figure.axes[0]
    assert marks(axes.containers[0]) == (
        [(0.5, 37.5), (2, 25)],
        [(31.25, 43.75), (18.75, 31.25)],
    )
    assert marks(axes.containers[1]) == ([(1, 25)], [(0, 50)])
    names = {text.get_text(): text.xy[1] for text in axes.texts}
    assert (names["base"], names["post"]) == (12.5, 75)
    assert {axes.get_xlabel() for axes in figure.axes} == {"multiple of the mean magnitude"}


def test_magnitudes_are_of_one_pair():
    with pytest.raises(UserError, match="draws one pair"):
        select(accuracy_by_magnitude, BITS)


# --- gap along alpha ------------------------------------------------------------------------------

GAPS = two_pairs(
    (BASE, (0.0, 0.125), 0.01),
    (expo(0.5), (0.75, 0.5), 0.03125),
    (POST, (0.5, 0.625), 0.0234375),
    (expo(-0.5), (0.25, 0.5), 0.03125),
)


def test_a_gap_is_the_score_minus_that_of_post_in_points_with_both_errors():
    drawn = select(gap_along_alpha, GAPS)
    assert drawn[["pair", "task"]].drop_duplicates().to_numpy().tolist() == [
        ["demo", "sums"],
        ["demo", "facts"],
        ["other", "sums"],
        ["other", "facts"],
    ]
    assert list(drawn["alpha"]) == [-0.5, 0, 0.5] * 4
    assert list(drawn["gap"]) == [-25, 0, 25, -12.5, 0, -12.5, -12.5, 0, 12.5, -6.25, 0, -6.25]
    assert list(drawn["stderr"]) == pytest.approx([3.90625, 0, 3.90625] * 4), "3, 4, 5 / 128"
    assert set(drawn["unit"]) == {"points"}


def test_the_gap_of_a_reward_is_in_its_own_unit():
    table = together(
        scores((POST, 0.5, 0.1), (expo(0.5), 0.75, 0.1), tasks=["sums"]),
        scores((POST, -0.5, 3.0), (expo(0.5), 0.75, 4.0), tasks=["chat"], metric="reward"),
    )
    drawn = select(gap_along_alpha, table)
    last = drawn.iloc[-1]
    assert (last["task"], last["unit"], last["gap"], last["stderr"]) == ("chat", "reward", 1.25, 5)
    figure = make(gap_along_alpha, table)
    assert [axes.get_ylabel() for axes in figure.axes] == ["gap (points)", "gap of reward"]


def test_an_alpha_of_zero_is_post_itself_and_counts_once():
    table = scores((POST, 0.5, 0.03), (expo(0.0), 0.5, 0.03), (expo(1.0), 0.5, 0.04))
    drawn = select(gap_along_alpha, table)
    assert list(drawn["alpha"]) == [0, 1] * 2
    assert list(drawn["stderr"]) == pytest.approx([0, 5] * 2)


def test_a_gap_needs_the_post_of_its_pair():
    table = GAPS[(GAPS["pair"] == "demo") | (GAPS["sweep"] != "ends")]
    with pytest.raises(UserError, match="no post-trained model of 'other'"):
        select(gap_along_alpha, table)


def test_a_panel_per_pair_has_a_line_per_task_with_a_ring_at_its_best_alpha():
    figure = make(gap_along_alpha, GAPS)
    assert titles(figure) == ["demo", "other"]
    assert texts(figure) == [f"{task} (acc)" for task in TASKS]
    for axes, size in zip(figure.axes, (1, 0.5), strict=True):
        points, ends = marks(axes.containers[0])
        assert points == [(-0.5, -25 * size), (0, 0), (0.5, 25 * size)]
        assert np.allclose(ends[0], (-25 * size - 3.90625, -25 * size + 3.90625))
        rings = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
        found = [(ring.get_xdata()[0], ring.get_ydata()[0]) for ring in rings]
        assert found == [(0.5, 25 * size), (0, 0)], "post, where nothing gains"
        assert axes.get_xlabel() == r"$\alpha$"


# --- accuracy by size -----------------------------------------------------------------------------


def stored(*measured, pair="demo"):
    """Make scores and sizes; `measured` are (variant, form, bytes of 1000, score)."""
    ends = of_pair(pair, BASE, POST)
    variants = of_pair(pair, *(which for which, *_ in measured))
    of_variants = [
        (v, score, 0.0625) for v, (*_, score) in zip(variants, measured, strict=True)
    ]  # fmt: skip
    kept = [(v, form, size) for v, (_, form, size, _) in zip(variants, measured, strict=True)]
    return together(
        scores((ends[0], 0.25, 0.03), (ends[1], 0.75, 0.03), *of_variants, tasks=["sums"]),
        sizes(*kept),
    )


RANKS = [low_rank(rank=2**i) for i in range(6)]
SIZES = stored(
    (RANKS[0], "adapter", 10, 0.25),
    (RANKS[1], "adapter", 20, 0.5),
    (RANKS[2], "adapter", 40, 0.375),  # larger and worse
    (bitdelta(), "packed", 40, 0.625),
    (RANKS[3], "adapter", 80, 0.625),  # larger and no better
    (dare(0.5), "sparse", 160, 0.875),
    (dare(0.75), "sparse", 160, 0.875),  # equal in both
    (RANKS[4], "adapter", 160, 0.75),  # as large and worse
)


def test_the_front_holds_what_no_smaller_one_equals_and_no_equal_one_beats():
    drawn = select(accuracy_by_size, SIZES)
    assert list(drawn["front"]) == [True, True, False, True, False, True, True, False] + 2 * [False]
    assert list(drawn["share"]) == [0.01, 0.02, 0.04, 0.04, 0.08, 0.16, 0.16, 0.16, 0, 1]
    assert list(drawn["score"]) == [25, 50, 37.5, 62.5, 62.5, 87.5, 87.5, 75, 25, 75]
    assert list(drawn["bytes"]) == [10, 20, 40, 40, 80, 160, 160, 160, 0, 1000]
    assert list(drawn["method"][-2:]) == ["base", "post"]
    assert set(drawn["stderr"][:-2]) == {6.25}


def test_the_front_is_of_one_pair_and_no_place_for_a_score_that_is_not_known():
    better = stored((RANKS[0], "adapter", 5, 1.0), pair="better")
    both = select(accuracy_by_size, together(SIZES, better)).set_index("pair")
    assert list(both["front"]["demo"]) == list(select(accuracy_by_size, SIZES)["front"])
    assert list(both["front"]["better"]) == [True, False, False]
    unknown = stored((RANKS[0], "adapter", 5, math.nan), (RANKS[1], "adapter", 10, 0.5))
    assert list(select(accuracy_by_size, unknown)["front"][:2]) == [False, True]


def test_sizes_and_scores_are_means_over_seeds_and_a_shared_variant_counts_once():
    table = stored(
        (dare(0.5, seed=0), "sparse", 100, 0.25),
        (dare(0.5, seed=1), "sparse", 200, 0.75),
        (dare(0.5, seed=1, sweep="again"), "sparse", 200, 0.75),
        (dare(0.5, tensors="linear", sweep="linear"), "sparse", 50, 0.5),
    )
    mean, linear = select(accuracy_by_size, table)[:2].itertuples()
    assert (mean.bytes, mean.score, mean.seeds) == (150, 50, 2)
    assert (mean.share, mean.stderr) == pytest.approx((0.15, 25))
    assert (linear.tensors, linear.share, linear.score, linear.seeds) == ("linear", 0.05, 50, 1)


def test_a_variant_in_two_forms_is_two_points_and_one_that_is_not_stored_none():
    table = together(
        scores((BASE, 0.0, 0.1), (POST, 1.0, 0.1), (bitdelta(), 0.5, 0.1), (dare(0.5), 0.5, 0.1)),
        sizes((bitdelta(), "packed", 60), (bitdelta(), "sparse", 600)),
    )
    drawn = select(accuracy_by_size, table)
    assert list(drawn["form"][:2]) == ["packed", "sparse"]
    assert set(drawn["method"]) == {"bitdelta", "base", "post"}


def test_sizes_are_percent_of_a_checkpoint_joined_along_the_front():
    figure = make(accuracy_by_size, SIZES)
    [axes] = figure.axes
    assert titles(figure) == ["demo"]
    assert texts(figure) == ["DARE", "BitDelta", "low rank", "adapter", "packed", "sparse"]
    front = axes.lines[0]
    assert list(front.get_xdata()) == pytest.approx([1, 2, 4, 16, 16])
    assert list(front.get_ydata()) == [25, 50, 62.5, 87.5, 87.5]
    drawn = {bars.lines[0].get_color(): bars for bars in axes.containers}
    points, ends = marks(drawn[_style.METHOD_COLORS["bitdelta"]])
    assert points == [(4, 62.5)]
    assert ends == [(56.25, 68.75)]
    names = {text.get_text(): text.xy[1] for text in axes.texts}
    assert names == {"base": 25, "post": 75}
    assert axes.get_xscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("size (% of a checkpoint)", "score (%)")
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert labels == ["1", "2", "5", "10", "20"]


@pytest.mark.parametrize(
    "least, most, labels",
    [
        (31, 32, ["3"]),
        (0.4, 0.8, ["0.05", "0.1"]),
        (12, 500, ["1", "2", "5", "10", "20", "50"]),
        (0.2, 500, ["0.1", "1", "10"]),
    ],
)
def test_every_range_of_sizes_has_a_tick_and_a_wide_one_powers_of_ten(least, most, labels):
    table = stored((RANKS[0], "adapter", least, 0.25), (dare(0.5), "sparse", most, 0.5))
    [axes] = make(accuracy_by_size, table).axes
    assert [text.get_text() for text in axes.get_xticklabels()] == labels


def test_the_size_of_a_reward_is_in_its_unit():
    table = together(
        scores((BASE, 0.0, 0.1), (POST, 3.0, 0.1), (bitdelta(), 2.0, 0.1), metric="reward"),
        sizes((bitdelta(), "packed", 60)),
    )
    assert make(accuracy_by_size, table).axes[0].get_ylabel() == "reward"
