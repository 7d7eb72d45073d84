"""Figures of losses draw approximated beside measured changes, each variant as it is."""

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.patches import PathPatch

from deltaedit.errors import UserError
from deltaedit.figures import (
    _style,
    accuracy_by_intensity,
    accuracy_by_loss_change,
    along_alpha,
    approximated_by_measured,
    loss_terms,
    slopes_by_layer,
)

from .figure_tables import (
    BASE,
    POST,
    SLOPES,
    bitdelta,
    curvature,
    dare,
    edit,
    expo,
    losses,
    low_rank,
    make,
    marks,
    scores,
    slopes,
    texts,
    together,
)


def select(kind, table):
    return kind.select(table, kind.Params())


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


# --- loss terms -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loss_figure():
    return make(loss_terms, SLOPES)


def value(drawn, what, method, p, tensor=None):
    rows = drawn[(drawn["what"] == what) & (drawn["method"] == method) & (drawn["rate"] == p)]
    rows = rows if tensor is None else rows[rows["tensor"] == tensor]
    assert len(rows) == 1
    return rows.iloc[0]["value"]


def test_loss_terms_are_weighted_sums_over_nodes_and_means_over_seeds():
    table = slopes(
        (dare(0.5, seed=0), {"a": (4.0, 8.0), "layers.3.b": (0.0, -4.0)}, 3.0),
        (dare(0.5, seed=1), {"a": (0.0, 4.0), "layers.3.b": (2.0, 2.0)}, 8.0),
        (dare(0.5, seed=1, sweep="again"), {"a": (0.0, 4.0), "layers.3.b": (2.0, 2.0)}, 8.0),
        (dare(0.5, seed=0, rescale=False), {"a": (8.0, 16.0), "layers.3.b": (4.0, 4.0)}, 20.0),
    )
    drawn = loss_terms.select(table, loss_terms.Params())
    assert len(drawn) == 8
    # seed 0: 4/4 + 8*3/4 = 7, seed 1: 3; the other tensor -3 and 2
    assert value(drawn, "part", "dare", 0.5, "a") == 5
    assert value(drawn, "part", "dare", 0.5, "layers.3.b") == -0.5
    assert value(drawn, "approximated total", "dare", 0.5) == 4.5
    assert value(drawn, "measured total", "dare", 0.5) == 5.5
    assert value(drawn, "part", "drop_only", 0.5, "a") == 14
    assert value(drawn, "approximated total", "drop_only", 0.5) == 18
    assert value(drawn, "measured total", "drop_only", 0.5) == 20
    layers = drawn.loc[drawn["tensor"] == "layers.3.b", ["layer", "group"]].drop_duplicates()
    assert layers.to_numpy().tolist() == [[3, "attention"]]


def test_each_part_is_a_point_in_the_box_of_its_method_and_drop_rate():
    drawn = loss_terms.select(SLOPES, loss_terms.Params())
    parts = loss_terms.draw(drawn, loss_terms.Params()).axes[0]
    boxes = [patch for patch in parts.patches if isinstance(patch, PathPatch)]
    points = [c for c in parts.collections if isinstance(c, PathCollection)]
    assert len(boxes) == len(points) == 3
    heights = np.concatenate([collection.get_offsets()[:, 1] for collection in points])
    assert sorted(heights) == sorted(drawn.loc[drawn["what"] == "part", "value"])
    for box, collection in zip(boxes, points, strict=True):
        x = collection.get_offsets()[:, 0]
        assert box.get_path().vertices[:, 0].min() < x.min() < x.max()
        assert x.max() < box.get_path().vertices[:, 0].max()
        assert np.array_equal(collection.get_facecolor()[0, :3], box.get_facecolor()[:3])


def test_totals_are_filled_beside_measured_hollow_and_joined(loss_figure):
    totals = loss_figure.axes[1]
    marks = [line for line in totals.lines if line.get_marker() not in ("", "None")]
    filled = [m.get_ydata()[0] for m in marks if m.get_markerfacecolor() != "white"]
    hollow = [m.get_ydata()[0] for m in marks if m.get_markerfacecolor() == "white"]
    assert filled == pytest.approx([2.325e-4, 2.925e-3, 3.8125])
    assert hollow == [0.5, 0.01, 5.0]
    joins = [line.get_ydata() for line in totals.lines if len(set(line.get_xdata())) == 2]
    for pair in zip(filled, hollow, strict=True):
        assert any(np.array_equal(pair, join) for join in joins)


def test_loss_axes_have_units_and_a_zero_line_and_are_linear_below_the_small_values(loss_figure):
    parts, totals = loss_figure.axes
    assert titles(loss_figure) == ["terms of the sum, by tensor", "sum over all tensors"]
    assert totals.get_xlabel() == "share of entries or ranks that go, or blocks $M$"
    assert [text.get_text() for text in totals.get_xticklabels()] == ["0.25", "0.75"]
    assert parts.get_xlim() == totals.get_xlim(), "one above the other"
    for axes in loss_figure.axes:
        assert axes.get_ylabel() == "loss change (nats)"
        assert axes.get_yscale() == "symlog"
        assert axes.yaxis.get_transform().linthresh == pytest.approx(1e-4)
        assert any(set(line.get_ydata()) == {0} for line in axes.lines)
        assert 0 < axes.get_ylim()[0] * -1 < 1e-2
        assert axes.get_ylim()[1] > 5


EDITS = [
    dare(0.5),
    dare(0.25),
    dare(0.25, rescale=False),
    edit("ties", drop_rate=0.5),
    low_rank(rank=16),
    low_rank(sparsity=0.5),
    low_rank(rank=4),
    bitdelta(8),
    bitdelta(2),
]


def test_each_method_stands_at_its_setting():
    table = losses([(which, i + 1.0, 0.0) for i, which in enumerate(EDITS)])
    drawn = select(loss_terms, table)
    totals = drawn[drawn["what"] == loss_terms.APPROXIMATED]
    found = totals[["method", "rate", "rank", "blocks", "value"]].fillna(0)
    assert found.to_numpy().tolist() == [
        ["dare", 0.5, 0, 0, 1],
        ["dare", 0.25, 0, 0, 2],
        ["drop_only", 0.25, 0, 0, 3],
        ["ties", 0.5, 0, 0, 4],
        ["low_rank", 0, 16, 0, 5],
        ["low_rank", 0.5, 0, 0, 6],
        ["low_rank", 0, 4, 0, 7],
        ["bitdelta", 0, 0, 8, 8],
        ["bitdelta", 0, 0, 2, 9],
    ]
    figure = make(loss_terms, table)
    names = [text.get_text() for text in figure.axes[1].get_xticklabels()]
    assert names == ["0.25", "0.5", "$r$ = 4", "$r$ = 16", "$M$ = 2", "$M$ = 8"]
    methods = ["DARE", "drop only", "TIES", "BitDelta", "low rank"]
    assert texts(figure) == [*methods, "approximated total", "measured total"]


def test_methods_may_edit_different_tensors_but_not_one_method():
    table = losses([(dare(0.5), 1.0, 1.0), (bitdelta(), 1.0, 1.0)])
    assert table["tensors"].nunique() == 2
    assert len(select(loss_terms, table)) == 6
    other = losses([(dare(0.5, tensors="linear", sweep="other"), 1.0, 1.0)])
    with pytest.raises(UserError, match=r"different tensors \(all and linear\)"):
        select(loss_terms, together(table, other))


def test_the_loss_axis_spans_five_decades_at_most_however_small_the_terms():
    terms = {f"t{i}": (10.0**-i, -(10.0 ** (-i - 1))) for i in range(15)}
    axes = make(loss_terms, slopes((dare(0.5), terms, 0.25))).axes[0]
    assert axes.yaxis.get_transform().linthresh == pytest.approx(1e-6)


def test_a_ruined_model_s_loss_is_in_the_numbers_and_has_no_mark():
    table = slopes(
        (dare(0.5), {"a": (4.0, 8.0), "b": (1.0, -4.0)}, 3.0),
        (dare(0.9), {"a": (4.0, math.nan), "b": (1.0, -4.0)}, math.inf),
    )
    drawn = loss_terms.select(table, loss_terms.Params())
    ruined = drawn[drawn["rate"] == 0.9].set_index(["what", "tensor"])["value"]
    assert ruined.isna().sum() == 2, "the part and the total that it enters"
    assert math.isinf(ruined["measured total"].item())
    figure = loss_terms.draw(drawn, loss_terms.Params())
    figure.draw_without_rendering()  # warnings are errors here
    assert math.isfinite(figure.axes[0].get_ylim()[1])


def test_loss_terms_are_of_one_quadrature():
    terms = {"lm_head": (1.0, 1.0)}
    left = slopes((dare(0.5), terms, 1.0))
    gauss = slopes((dare(0.5), {"lm_head": (3.0, 3.0)}, 1.0), rule="gauss_legendre")
    table = pd.concat([left, gauss], ignore_index=True)
    for rule, total in ((None, 1.0), ("left", 1.0), ("gauss_legendre", 3.0)):
        drawn = loss_terms.select(table, loss_terms.Params(quadrature=rule))
        assert drawn.set_index("what")["value"]["approximated total"] == total
    with pytest.raises(UserError, match="by simpson"):
        loss_terms.select(table, loss_terms.Params(quadrature="simpson"))


# --- along alpha ----------------------------------------------------------------------------------


def along(changes, *values, tasks=("reward",)):
    """Make slopes whose sums are half the losses, and scores of each task, by alpha."""
    of_variants = [(expo(alpha), change / 2, change) for alpha, change in changes.items()]
    slope_rows = losses([*of_variants, (POST, 0.0, 0.0), (BASE, 9.0, 9.0)])
    score_rows = [
        scores((POST, of_post, 0.01), *((expo(a), v, 0.02) for a, v in of.items()), tasks=[task])
        for task, (of_post, of) in zip(tasks, values, strict=True)
    ]
    return together(slope_rows, *score_rows)


ALONG = along(
    {-0.5: 0.5, 0.5: -0.25, 1.0: 0.125},
    (0.25, {-0.5: -0.5, 0.5: 0.5, 1.0: 0.75}),
    (0.5, {-0.5: 0.25, 0.5: 0.75, 1.0: 0.5}),
    tasks=("reward", "sums"),
)


def test_losses_and_scores_along_alpha_are_those_of_the_variants():
    drawn = along_alpha.select(ALONG, along_alpha.Params())
    lines = {what: rows.set_index("alpha") for what, rows in drawn.groupby("what", sort=False)}
    approximated, measured = along_alpha.APPROXIMATED, along_alpha.MEASURED
    assert list(lines) == [approximated, measured, "reward", "sums"]
    assert dict(lines[measured]["value"]) == {-0.5: 0.5, 0.0: 0.0, 0.5: -0.25, 1.0: 0.125}
    assert dict(lines[approximated]["value"]) == {-0.5: 0.25, 0.0: 0.0, 0.5: -0.125, 1.0: 0.0625}
    assert set(lines[measured]["stderr"]) == {0.25}
    assert set(lines[approximated]["stderr"]) == {0.125}
    assert dict(lines["reward"]["value"]) == {-0.5: -0.5, 0.0: 0.25, 0.5: 0.5, 1.0: 0.75}
    assert dict(lines["reward"]["stderr"]) == {-0.5: 0.02, 0.0: 0.01, 0.5: 0.02, 1.0: 0.02}


def test_panels_along_alpha_mark_where_the_loss_is_lowest_and_each_score_best():
    figure = make(along_alpha, ALONG)
    marks = [
        [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
        for axes in figure.axes
    ]
    assert marks == [[0.5], [1.0], [0.5]]
    assert [axes.get_ylabel() for axes in figure.axes] == ["nats", "acc", "acc (%)"]


def test_a_ruined_model_along_alpha_leaves_a_gap_and_no_mark():
    table = along({0.5: -0.25, 1.0: math.inf}, (0.25, {0.5: 0.5, 1.0: 0.0}))
    drawn = along_alpha.select(table, along_alpha.Params())
    assert math.inf in set(drawn["value"])
    [mark] = [
        line.get_xdata()[0]
        for line in make(along_alpha, table).axes[0].lines
        if line.get_linestyle() == ":"
    ]
    assert mark == 0.5


def test_one_pair_is_drawn_along_alpha():
    other = ALONG.assign(pair="other")
    with pytest.raises(UserError, match="draws one pair"):
        along_alpha.select(pd.concat([ALONG, other]), along_alpha.Params())


# --- approximated against measured ----------------------------------------------------------------

CHANGES = [
    (dare(0.5), 0.5, 0.25),
    (dare(0.5, rescale=False), -2.0, 4.0),
    (bitdelta(), 0.75, 1.0),
    (POST, 9.0, 9.0),
]


def test_both_loss_changes_of_every_variant_and_quadrature_are_there():
    table = together(losses(CHANGES), losses([(dare(0.5), 0.375, 0.25)], "gauss_legendre"))
    drawn = select(approximated_by_measured, table)
    assert drawn[["quadrature", "method", "approximated", "measured"]].to_numpy().tolist() == [
        ["left", "dare", 0.5, 0.25],
        ["left", "drop_only", -2.0, 4.0],
        ["left", "bitdelta", 0.75, 1.0],
        ["gauss_legendre", "dare", 0.375, 0.25],
    ]
    assert drawn["options"][0] == "drop_rate=0.5, dropped_scale=0, rescale=True"
    assert set(drawn["measured_stderr"]) == {0.25}
    assert set(drawn["approximated_stderr"]) == {0.125}
    figure = make(approximated_by_measured, table)
    assert titles(figure) == ["left", "gauss legendre"]
    assert texts(figure) == ["DARE", "drop only", "BitDelta"]


@pytest.mark.parametrize("kind", [approximated_by_measured, accuracy_by_loss_change])
def test_a_variant_of_two_sweeps_is_one_point_and_other_seeds_and_tensors_are_others(kind):
    variants = [
        dare(0.5),
        dare(0.5, sweep="again"),
        dare(0.5, seed=1),
        dare(0.5, tensors="linear", sweep="linear"),
    ]
    table = losses([(which, 1.0, 1.0) for which in variants])
    ends = [(BASE, 0.0, 0.1), (POST, 1.0, 0.1)]
    table = together(table, scores(*ends, *((which, 0.5, 0.1) for which in variants)))
    drawn = select(kind, table[table["node"].notna()] if kind.MEASURES == ("loss",) else table)
    assert drawn[["seed", "tensors"]].to_numpy().tolist() == [[0, "all"], [1, "all"], [0, "linear"]]


def test_points_stand_at_their_changes_with_bars_both_ways():
    axes = make(approximated_by_measured, losses(CHANGES)).axes[0]
    found = {bars.lines[0].get_color(): bars for bars in axes.containers}
    bars = found[_style.METHOD_COLORS["drop_only"]]
    assert marks(bars) == ([(4, -2)], [(-2.125, -1.875)])
    [across] = bars.lines[2][0].get_segments()
    assert across[:, 0].tolist() == [3.75, 4.25]
    assert axes.get_xlabel() == "measured loss change (nats)"
    assert axes.get_ylabel() == "approximated loss change (nats)"


def test_the_line_of_equality_reaches_from_corner_to_corner():
    axes = make(approximated_by_measured, losses(CHANGES)).axes[0]
    lines = [line for line in axes.lines if len(line.get_xdata()) > 2]
    [equal] = [line for line in lines if line.get_color() == _style.MUTED]
    assert np.array_equal(equal.get_xdata(), equal.get_ydata())
    assert axes.get_xlim() == axes.get_ylim() == (equal.get_xdata()[0], equal.get_xdata()[-1])
    linear = np.abs(equal.get_xdata()) <= approximated_by_measured.FLOOR
    assert linear.sum() > 2, "straight where the axes are linear too"
    for value in np.linspace(*axes.get_xlim(), 7):
        on_line = np.interp(value, equal.get_xdata(), equal.get_ydata())
        assert on_line == pytest.approx(value)
    assert axes.get_box_aspect() == 1


def test_the_summary_counts_and_gives_the_rank_correlation_and_the_median_gap():
    changes = [
        (dare(0.25), 1.0, 1.0),  # 0 %
        (dare(0.5), 1.5, 2.0),  # 25 %
        (dare(0.75), 1.25, 4.0),  # 69 %
        (dare(0.9), 1.0, math.nan),
    ]
    text = make(approximated_by_measured, losses(changes)).axes[0].texts[0].get_text()
    assert text == "3 variants\nSpearman's $\\rho$ = 0.50\nmedian gap 25 %"
    tiny = losses([(dare(0.5), 3e-4, 1e-4)])  # relative to 1e-3 nats at least
    text = make(approximated_by_measured, tiny).axes[0].texts[0].get_text()
    assert text == "1 variant\nmedian gap 20 %"


@pytest.mark.parametrize("kind", [approximated_by_measured, accuracy_by_loss_change])
@pytest.mark.parametrize("rest", [[], [(bitdelta(), 1.0, 1.0)]])
def test_a_ruined_model_is_in_the_numbers_and_has_no_mark(kind, rest):
    table = losses([(dare(0.5), math.nan, math.inf), (dare(0.9), 1.0, math.nan), *rest])
    ends = [(BASE, 0.0, 0.1), (POST, 1.0, 0.1)]
    variants = [dare(0.5), dare(0.9), bitdelta()]
    table = together(table, scores(*ends, *((which, 0.5, 0.1) for which in variants)))
    table = table[table["node"].notna()] if kind.MEASURES == ("loss",) else table
    drawn = select(kind, table)
    assert len(drawn) == 2 + len(rest)
    assert math.isinf(drawn["measured"][0])
    figure = make(kind, table)
    figure.draw_without_rendering()  # warnings are errors here
    [axes] = figure.axes
    assert np.isfinite([axes.get_xlim(), axes.get_ylim()]).all()
    assert sum(len(marks(bars)[0]) for bars in axes.containers) == len(rest)


# --- score against loss change --------------------------------------------------------------------


def measured(*variants, pair="demo", tasks=("sums", "facts"), post=(0.5, 0.75)):
    """Make scores and slopes of variants, each with its measured change and its scores."""
    of_loss = losses([(POST, 0.0, 0.0), *((v, 9.0, change) for v, change, _ in variants)])
    ends = [(BASE, 0.0, 0.1), (POST, post, 0.03125)]
    of_tasks = scores(*ends, *((v, values, 0.0234375) for v, _, values in variants), tasks=tasks)
    return together(of_loss, of_tasks).assign(pair=pair)


PAIRS = together(
    measured(
        (dare(0.5), 0.25, (0.25, 0.75)),
        (dare(0.5, rescale=False), 4.0, (0.0, 0.25)),
        (bitdelta(), -0.5, (0.75, 0.75)),
    ),
    measured((dare(0.5), 0.125, (0.5, 1.0)), pair="other"),
)


def test_every_variant_with_a_loss_and_a_score_has_the_change_of_both():
    drawn = select(accuracy_by_loss_change, PAIRS)
    assert drawn[["pair", "method", "measured", "score_change"]].to_numpy().tolist() == [
        ["demo", "dare", 0.25, -12.5],
        ["demo", "drop_only", 4, -50],
        ["demo", "bitdelta", -0.5, 12.5],
        ["other", "dare", 0.125, 12.5],
    ]
    error = 100 * math.hypot(0.03125, 0.0234375) / math.sqrt(2)
    assert list(drawn["score_change_stderr"]) == pytest.approx([error] * 4)
    only_loss = losses([(expo(0.5), 1.0, 1.0)])
    assert len(select(accuracy_by_loss_change, together(PAIRS, only_loss))) == 4


def test_a_panel_per_pair_has_a_point_per_variant_and_the_rank_correlation():
    figure = make(accuracy_by_loss_change, PAIRS)
    assert titles(figure) == ["demo", "other"]
    assert texts(figure) == ["DARE", "drop only", "BitDelta"]
    axes = figure.axes[0]
    points = [point for bars in axes.containers for point in marks(bars)[0]]
    assert points == [(0.25, -12.5), (4, -50), (-0.5, 12.5)]
    [[low, high]] = marks(axes.containers[0])[1]
    assert (high - low) / 2 == pytest.approx(2.7621358640099515)
    [across] = axes.containers[0].lines[2][0].get_segments()
    assert across[:, 0].tolist() == [0, 0.5]
    assert axes.texts[0].get_text() == r"$\rho$ = −1.00"
    assert not figure.axes[1].texts, "no correlation of one point"
    assert axes.get_xlabel() == "measured loss change (nats)"
    assert axes.get_ylabel() == "change of the score (points)"
    low, high = axes.get_xlim()
    assert low < -0.5 and high > 4


def test_a_reward_and_several_losses_have_panels_of_their_own():
    both = together(PAIRS, PAIRS[PAIRS["node"].notna()].assign(loss="second"))
    assert titles(make(accuracy_by_loss_change, both)) == [
        *("demo, demo", "demo, second", "other, demo", "other, second")
    ]
    reward = measured((dare(0.5), 0.25, -1.5), tasks=["chat"], post=0.5).replace("acc", "reward")
    [axes] = make(accuracy_by_loss_change, reward).axes
    assert axes.get_ylabel() == "change of reward"
    assert marks(axes.containers[0])[0] == [(0.25, -2)]


def test_equal_changes_have_no_rank_correlation():
    table = measured(*((dare(p), 0.25, (0.25, 0.75)) for p in (0.25, 0.5, 0.75)))
    [axes] = make(accuracy_by_loss_change, table).axes
    assert not axes.texts


# --- editing intensity ----------------------------------------------------------------------------

# Intensities p / (1 - p): 1/3, 1, 3; post gained 0.5 over base.
BREAKS = [
    (dare(0.25), 0.125, 0.75),
    (dare(0.5), 0.5, 0.5),
    (dare(0.75), 2.0, 0.375),
    (bitdelta(), 1.0, 0.4375),
]


def intensities(*variants, curve=0.5, base=0.25, post=0.75):
    """Make a table of variants with their measured change and their score, and a curvature."""
    ends = [(BASE, base, 0.0), (POST, post, 0.0)]
    return together(
        losses([(v, 9.0, change) for v, change, _ in variants]),
        scores(*ends, *((v, score, 0.0) for v, _, score in variants), tasks=["sums"]),
        curvature(curve),
    )


def found(table):
    """Return what is drawn: variants, and the found and the predicted break."""
    drawn = select(accuracy_by_intensity, table)
    breaks = drawn.set_index("what")[["lower", "upper"]]
    rows = drawn[drawn["what"] == accuracy_by_intensity.VARIANT]
    ends = (breaks.loc[name].tolist() for name in ("found break", "predicted break"))
    return rows, *ends


def test_the_break_is_found_between_two_intensities_and_predicted_by_the_loss():
    rows, at, predicted = found(intensities(*BREAKS))
    assert list(rows["kept"]) == [1, 0.5, 0.25]
    assert list(rows["intensity"]) == pytest.approx([1 / 3, 1, 3])
    assert at == pytest.approx([1, 3]), "half is kept at 1 and not at 3"
    # Among all methods 0.5 nats keep half, 1 nat does not: 2 * loss / curvature.
    assert predicted == [2, 4]
    drawn = select(accuracy_by_intensity, intensities(*BREAKS)).set_index("what")
    assert drawn["value"]["curvature"] == 0.5


def test_kept_and_broken_that_overlap_give_the_range_of_both():
    rows = [(dare(0.25), 0.5, 0.25), (dare(0.5), 1.0, 0.75), (dare(0.75), 0.25, 0.25)]
    _, at, predicted = found(intensities(*rows, curve=0.25))
    assert at == pytest.approx([1 / 3, 1])
    assert predicted == [2, 8]


@pytest.mark.parametrize(
    "scored, at, predicted, said",
    [
        ([0.75, 0.5], [1, None], [4, None], ["none up to 1", "none up to 4"]),
        ([0.25, 0.0], [None, 1 / 3], [None, 2], ["below 0.33", "below 2"]),
    ],
)
def test_where_all_keep_or_all_lose_there_is_no_break(scored, at, predicted, said):
    table = intensities((dare(0.25), 0.5, scored[0]), (dare(0.5), 1.0, scored[1]))
    _, *breaks = found(table)
    for end, wanted in zip(breaks, (at, predicted), strict=True):
        nans = [math.nan if value is None else value for value in wanted]
        assert end == pytest.approx(nans, nan_ok=True)
    assert legend(make(accuracy_by_intensity, table)) == [
        f"found break: {said[0]}",
        f"predicted break: {said[1]}",
    ]


def legend(figure):
    return [text.get_text() for text in figure.axes[1].get_legend().get_texts()]


@pytest.mark.parametrize("curve", [0.0, -0.5])
def test_a_curvature_that_is_not_positive_predicts_no_break(curve):
    table = intensities(*BREAKS, curve=curve)
    _, at, predicted = found(table)
    assert at == pytest.approx([1, 3])
    assert np.isnan(predicted).all()
    figure = make(accuracy_by_intensity, table)
    figure.draw_without_rendering()
    assert legend(figure)[1] == "predicted break: none"


def test_an_edit_that_lowers_the_loss_predicts_nothing():
    table = intensities(*BREAKS, (expo(0.5), -0.5, 0.0))
    assert found(table)[2] == [2, 4]


def test_a_variant_of_two_sweeps_counts_once_by_intensity_and_seeds_each():
    again = [(dare(0.5, sweep="again"), 0.5, 0.5), (dare(0.5, seed=1), 0.5, 0.5)]
    rows, *_ = found(intensities(*BREAKS, *again))
    assert list(rows["seed"]) == [0, 0, 1, 0]


def test_post_must_be_better_than_its_base():
    with pytest.raises(UserError, match="nothing to draw: the post-trained model is no better"):
        select(accuracy_by_intensity, intensities(*BREAKS, base=0.75))


def test_intensity_is_drawn_with_its_prediction_and_both_breaks():
    table = intensities(*BREAKS, (dare(0.5, -1.0), -0.25, 0.75), (dare(0.9), math.inf, 0.0))
    figure = make(accuracy_by_intensity, table)
    figure.draw_without_rendering()
    loss, score = figure.axes
    raises, lowers = loss.containers
    intensities_of = [1 / 3, 1, 3]
    assert [x for x, _ in marks(raises)[0]] == pytest.approx(intensities_of)
    assert [y for _, y in marks(raises)[0]] == [0.125, 0.5, 2], "the infinite has no mark"
    assert marks(lowers)[0] == [(4, 0.25)], "the size of what lowers the loss"
    assert raises.lines[0].get_markerfacecolor() != lowers.lines[0].get_markerfacecolor()
    [line] = [line for line in loss.lines if line.get_color() == _style.MUTED]
    assert np.allclose(line.get_ydata(), line.get_xdata() / 2 * 0.5)
    kept = dict(marks(score.containers[0])[0])
    assert list(kept.values()) == [100, 50, 25, 100, -50]
    assert loss.get_ylabel() == "size of the loss change (nats)"
    assert score.get_ylabel() == "kept of what post gained (%)"
    for axes in figure.axes:
        assert axes.get_xlabel() == "editing intensity $(k-1)^2\\,p/(1-p)$"
        assert axes.get_xscale() == "log"


# --- slopes by layer ------------------------------------------------------------------------------


def layered(which, *terms):
    """Make the slopes of a variant; `terms` are those of attention, feed forward, embedding."""
    names = ("layers.0.q_proj", "layers.0.k_proj", "layers.1.mlp", "embed")
    return (which, {name: (t, t) for name, t in zip(names, terms, strict=True)}, 1.0)


LAYERS = slopes(
    layered(dare(0.5), 1.0, 1.0, -4.0, 2.0),  # attention adds up to 2 of 8
    layered(dare(0.75), 4.0, -1.0, 0.0, -1.0),  # 3 of 4
    layered(bitdelta(), -3.0, 2.0, 1.0, 0.0),  # -1 of 2
    layered(POST, 9.0, 9.0, 9.0, 9.0),
)


def shares(table):
    drawn = select(slopes_by_layer, table)
    return {
        (row.method, None if pd.isna(row.layer) else row.layer, row.group): row.share
        for row in drawn.itertuples()
    }


def test_shares_are_of_the_sizes_of_all_parts_with_their_sign_and_means_over_variants():
    assert shares(LAYERS) == {
        ("dare", 0, "attention"): (2 / 8 + 3 / 4) / 2,
        ("dare", 1, "feed_forward"): (-4 / 8 + 0) / 2,
        ("dare", None, "embedding"): (2 / 8 - 1 / 4) / 2,
        ("bitdelta", 0, "attention"): -0.5,
        ("bitdelta", 1, "feed_forward"): 0.5,
        ("bitdelta", None, "embedding"): 0.0,
    }
    drawn = select(slopes_by_layer, LAYERS).set_index("method")
    assert set(drawn["variants"]["dare"]) == {2}
    assert set(drawn["variants"]["bitdelta"]) == {1}


def test_a_variant_of_two_sweeps_counts_once_in_the_shares():
    again = slopes(layered(dare(0.5, sweep="again"), 1.0, 1.0, -4.0, 2.0))
    assert shares(together(LAYERS, again)) == shares(LAYERS)
    seed = slopes(layered(dare(0.5, seed=1), 0.0, 0.0, 0.0, 1.0))
    assert shares(together(LAYERS, seed))["dare", None, "embedding"] == pytest.approx(1 / 3)


def test_a_variant_without_a_share_is_left_out_of_the_mean():
    ruined = slopes(
        layered(dare(0.9), math.nan, 1.0, 1.0, 1.0), layered(dare(0.1), 0.0, 0.0, 0.0, 0.0)
    )
    assert shares(together(LAYERS, ruined)) == shares(LAYERS)
    make(slopes_by_layer, together(LAYERS, ruined)).draw_without_rendering()


def test_shares_are_of_one_quadrature():
    table = together(LAYERS, slopes(layered(dare(0.5), 1.0, 0.0, 0.0, 0.0), rule="simpson"))
    assert shares(table) == shares(LAYERS)
    drawn = slopes_by_layer.select(table, slopes_by_layer.Params(quadrature="simpson"))
    assert list(drawn["share"].fillna(0)) == [1, 0, 0]
    with pytest.raises(UserError, match="by right"):
        slopes_by_layer.select(table, slopes_by_layer.Params(quadrature="right"))


def test_a_map_per_method_shows_its_shares_alike_in_colour():
    figure = make(slopes_by_layer, LAYERS)
    *maps, bar = figure.axes
    assert titles(figure)[:-1] == ["DARE", "BitDelta"]
    none = math.nan
    wanted = [
        [[none, none, 0], [50, none, none], [none, -25, none]],
        [[none, none, 0], [-50, none, none], [none, 50, none]],
    ]
    for axes, cells in zip(maps, wanted, strict=True):
        [image] = axes.images
        assert image.get_clim() == (-50, 50), "zero is white, and all maps have one scale"
        assert np.array_equal(image.get_array().filled(none), cells, equal_nan=True)
        assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1", "–"]
    names = [text.get_text() for text in maps[0].get_yticklabels()]
    assert names == ["embedding", "attention", "feed forward"]
    assert maps[0].get_xlabel() == "layer"
    assert bar.get_ylabel() == "share of the terms (%)"
