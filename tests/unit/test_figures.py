"""Figures draw what was measured, and every kind keeps the contract of its folder."""

import dataclasses
import math

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.text import Text

from deltaedit import figures
from deltaedit.errors import UserError
from deltaedit.figures import _style, accuracy_by_drop_rate, along_alpha, loss_terms

TASKS = ("sums", "facts")


def variant(sweep, name, method=None, seed=None, p=None, k=None, rescale=None):
    """Return the columns that say which variant a row is about."""
    options = {"drop_rate": p, "dropped_scale": k, "rescale": rescale, "alpha": None}
    return {
        "pair": "demo",
        "sweep": sweep,
        "slice": "all",
        "variant": name,
        "method": method,
        "seed": seed,
        **options,
    }


def dare(p, k=0.0, *, seed=0, rescale=True, sweep="grid"):
    return variant(sweep, f"p{p}k{k}s{seed}{rescale}", "dare", seed, p, k, rescale)


BASE, POST = variant("ends", "base"), variant("ends", "post")
EXPO = variant("line", "alpha", "expo", 0) | {"alpha": 0.3}


def scores(*measured, tasks=TASKS, metric="acc", how="none"):
    """Make a table of scores; `measured` are (variant, value of each task, stderr)."""
    rows = [
        which | {"suite": "demo", "task": task, "metric": metric, "filter": how, "value": value}
        | {"stderr": stderr, "count": 200}
        for which, values, stderr in measured
        for task, value in zip(tasks, np.broadcast_to(values, len(tasks)), strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows).astype({"method": "string", "seed": "Int64"})


def slopes(*measured, nodes=((0.0, 0.25), (0.5, 0.75)), rule="left"):
    """Make a table of slopes; `measured` are (variant, tensor -> slope per node, change)."""
    rows = [
        which | {"loss": "demo", "quadrature": rule, "node": node, "weight": weight}
        | {"tensor": tensor}
        | {"layer": 3 if "layers.3" in tensor else None, "group": "attention", "slope": slope}
        | {"loss_post": 1.0, "loss_edited": 1.0 + change, "measured_change": change}
        | {"measured_stderr": 0.25, "approximate_stderr": 0.125}
        for which, terms, change in measured
        for tensor, values in terms.items()
        for (node, weight), slope in zip(nodes, values, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows).astype({"method": "string", "seed": "Int64", "layer": "Int64"})


SCORES = scores(
    (BASE, (0.125, 0.25), 0.02),
    (POST, (0.75, 0.875), 0.03),
    (dare(0.25), (0.5, 0.75), 0.01),
    (dare(0.75), (0.25, 0.625), 0.02),
    (dare(0.25, -0.5), (0.375, 0.5), 0.03),
    (dare(0.75, -0.5), (0.125, 0.375), 0.04),
    (dare(0.25, rescale=False), (0.5, 0.5), 0.05),
    (dare(0.25, 0.5, rescale=False), (0.0, 0.0), 0.05),
    (EXPO, (1.0, 1.0), 0.01),
)
SLOPES = slopes(
    (dare(0.25), {"layers.3.q_proj": (1e-4, 3e-4), "embed": (-1e-5, -2e-5)}, 0.5),
    (dare(0.75), {"layers.3.q_proj": (2e-3, 4e-3), "embed": (1e-4, -8e-4)}, 0.01),
    (dare(0.75, rescale=False), {"layers.3.q_proj": (2.0, 4.0), "embed": (0.5, 0.25)}, 5.0),
    (dare(0.75, -0.5), {"layers.3.q_proj": (9.0, 9.0), "embed": (9.0, 9.0)}, 9.0),
    (EXPO, {"layers.3.q_proj": (9.0, 9.0), "embed": (9.0, 9.0)}, 9.0),
    (POST, {"layers.3.q_proj": (9.0, 9.0), "embed": (9.0, 9.0)}, 9.0),
)
TABLES = {
    ("suite",): SCORES,
    ("loss",): SLOPES,
    ("loss", "suite"): pd.concat([SCORES, SLOPES], ignore_index=True),
}
METHODS = {"along_alpha": "expo"}  # what a kind draws, if it is not dare


def make(kind, table):
    params = kind.Params()
    return kind.draw(kind.select(table, params), params)


@pytest.fixture(scope="module")
def accuracy_figure():
    return make(accuracy_by_drop_rate, SCORES)


@pytest.fixture(scope="module")
def loss_figure():
    return make(loss_terms, SLOPES)


@pytest.fixture(params=figures.NAMES)
def kind(request):
    return figures.load(request.param)


def test_the_figures_of_the_paper_are_there():
    assert {"accuracy_by_drop_rate", "along_alpha", "loss_terms"} <= set(figures.NAMES)
    assert not any(name.startswith("_") for name in figures.NAMES)


def test_a_kind_keeps_the_contract(kind):
    table = TABLES[kind.MEASURES].copy()
    params = kind.Params()
    before = dict(matplotlib.rcParams)

    drawn = kind.select(table, params)
    pd.testing.assert_frame_equal(table, TABLES[kind.MEASURES])
    kept = drawn.copy()
    figure = kind.draw(drawn, params)

    assert type(drawn) is pd.DataFrame
    assert len(drawn)
    assert not drawn.duplicated().any()
    pd.testing.assert_frame_equal(drawn, kept)
    assert type(figure) is Figure
    assert figure.canvas.manager is None, "pyplot keeps a manager for its figures"
    assert dict(matplotlib.rcParams) == before
    assert dataclasses.is_dataclass(kind.Params)
    assert kind.Params.__dataclass_params__.frozen
    assert kind.CAPTION.endswith(".")
    assert "\n" not in kind.CAPTION


def test_a_kind_draws_the_same_from_its_csv(kind, tmp_path):
    params = kind.Params()
    drawn = kind.select(TABLES[kind.MEASURES], params)
    drawn.to_csv(tmp_path / "drawn.csv", index=False)
    again = kind.draw(pd.read_csv(tmp_path / "drawn.csv"), params)
    assert _bytes(again, tmp_path) == _bytes(kind.draw(drawn, params), tmp_path)


def drawn_method(kind):
    return METHODS.get(kind.__name__.rpartition(".")[2], "dare")


@pytest.mark.parametrize("missing", ["every option", "every dare", "every drawn dare"])
def test_nothing_to_draw_is_said_in_one_line(kind, missing):
    table = TABLES[kind.MEASURES]
    is_drawn = table["method"].isin([drawn_method(kind)])
    if missing == "every drawn dare" and drawn_method(kind) == "dare":
        table = table[~is_drawn | (~table["rescale"].isin([True]) & (table["dropped_scale"] != 0))]
    else:
        table = table[~is_drawn]
    if missing == "every option":
        table = table.drop(columns=["drop_rate", "dropped_scale", "rescale"])
    with pytest.raises(ValueError, match=r"^nothing to draw: [^\n]+$"):
        kind.select(table, kind.Params())


def test_variants_that_edit_other_tensors_are_not_averaged(kind):
    table = TABLES[kind.MEASURES]
    table = table.assign(tensors=np.where(table["sweep"] == "ends", None, "all"))
    kind.select(table, kind.Params())
    first = table.index[table["method"] == drawn_method(kind)][0]
    table.loc[first, "tensors"] = "linear"
    with pytest.raises(UserError, match=r"edit different tensors \(all and linear\)"):
        kind.select(table, kind.Params())


def test_unknown_kinds_and_options_are_refused():
    with pytest.raises(ValueError, match=r"unknown figure kind 'loss_term'.*'loss_terms'"):
        figures.parse("loss_term", {})
    with pytest.raises(ValueError, match="unknown option 'colour'"):
        figures.parse("loss_terms", {"colour": "red"})


# What is written


def _bytes(figure, folder):
    _style.save(figure, folder / "figure.svg", folder / "figure.png")
    return (folder / "figure.svg").read_bytes(), (folder / "figure.png").read_bytes()


def many_tasks(count, near=False):
    """Make scores of `count` tasks with long names, many k and many p."""
    tasks = [f"a_task_with_a_long_name_{i}" for i in range(count)]
    ends = [(BASE, 0.0, 0.01), (POST, 0.0 if near else 1.0, 0.01)]
    grid = [
        (dare(p / 10, k), 1 - p / 20 + k / 50, 0.02)
        for p in (1, 2, 5, 8, 9)
        for k in (-10, -1, -0.5, -0.25, 0, 0.5, 1.25, 2)
    ]
    return scores(*ends, *grid, tasks=tasks, metric="exact_match", how="flexible-extract")


SHAPES = {
    "scores": (accuracy_by_drop_rate, SCORES),
    "one task": (accuracy_by_drop_rate, many_tasks(1)),
    "five tasks": (accuracy_by_drop_rate, many_tasks(5, near=True)),
    "eight tasks": (accuracy_by_drop_rate, many_tasks(8)),
    "slopes": (loss_terms, SLOPES),
    "wide slopes": (
        loss_terms,
        slopes(
            *((dare(p / 10), {"a": (9.0**-p, 5.0), "b": (-7.0, 1e-7)}, 1e3) for p in range(10)),
        ),
    ),
    "slopes of zero": (loss_terms, slopes((dare(0.0), {"a": (0.0, 0.0)}, 0.0))),
}


@pytest.mark.parametrize("shape", ["five tasks", "slopes"])  # rows of panels settle slowly
def test_the_same_table_gives_the_same_bytes(shape, tmp_path):
    kind, table = SHAPES[shape]
    figure = make(kind, table)
    svg, png = _bytes(figure, tmp_path)
    assert _bytes(figure, tmp_path) == (svg, png)
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.hashsalt": "x"}):
        assert _bytes(make(kind, table), tmp_path) == (svg, png), "a user's matplotlibrc matters"
    assert b"<svg" in svg
    assert b"<dc:date>" not in svg
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20]) == round(200 * figure.get_figwidth())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.png", "figure.svg"]


@pytest.mark.parametrize("shape", SHAPES)
def test_all_text_is_inside_the_figure_and_apart(shape, monkeypatch):
    figure = make(*SHAPES[shape])
    figure.set_dpi(200)
    written = []
    draw = Text.draw
    monkeypatch.setattr(Text, "draw", lambda self, *a: written.append(self) or draw(self, *a))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    shown = [text for text in set(written) if text.get_visible() and text.get_text()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown]
    assert len(boxes) > 10
    for text, box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0, text
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text
    for i, (text, box) in enumerate(boxes):
        for other, other_box in boxes[:i]:
            assert not box.overlaps(other_box), f"{text!r} over {other!r}"


# Colours


def lightness(color):
    return np.dot((0.2126, 0.7152, 0.0722), np.power(to_rgb(color), 2.2))


def test_colours_of_k_grow_lighter_with_k_so_they_order_in_grey():
    scales = (-100, -2, -1, -0.5, -0.25, 0, 0.5, 1, 1.5, 3)
    found = [lightness(_style.scale_color(k)) for k in scales]
    assert found == sorted(found)
    assert len(set(found)) == len(scales)
    assert _style.scale_color(0.0) == _style.METHOD_COLORS["dare"]


def test_the_two_methods_differ_in_grey():
    colors = (_style.METHOD_COLORS[name] for name in ("dare", "drop_only"))
    dark, light = sorted(map(lightness, colors))
    assert light + 0.05 > 3 * (dark + 0.05), "contrast ratio"


# Accuracy by drop rate


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


# Loss terms


def value(drawn, what, method, p, tensor=None):
    rows = drawn[(drawn["what"] == what) & (drawn["method"] == method) & (drawn["drop_rate"] == p)]
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
    assert loss_figure.axes[0].get_ylabel() == "loss change (nats)"
    for axes in loss_figure.axes:
        assert axes.get_xlabel() == "drop rate $p$"
        assert [text.get_text() for text in axes.get_xticklabels()] == ["0.25", "0.75"]
        assert axes.get_yscale() == "symlog"
        assert axes.yaxis.get_transform().linthresh == pytest.approx(1e-4)
        assert any(set(line.get_ydata()) == {0} for line in axes.lines)
        assert 0 < axes.get_ylim()[0] * -1 < 1e-2
        assert axes.get_ylim()[1] > 5


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
    ruined = drawn[drawn["drop_rate"] == 0.9].set_index(["what", "tensor"])["value"]
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


# Along alpha


def expo(alpha):
    return variant("line", f"alpha={alpha}", "expo", 0) | {"alpha": alpha}


def along(losses, *values, tasks=("reward",)):
    """Make slopes whose sums are half the losses, and scores of each task, by alpha."""
    slope_rows = slopes(*((expo(a), {"x": (c / 2, c / 2)}, c) for a, c in losses.items()))
    ends = slopes((POST, {"x": (0.0, 0.0)}, 0.0), (BASE, {"x": (9.0, 9.0)}, 9.0))
    score_rows = [
        scores((POST, of_post, 0.01), *((expo(a), v, 0.02) for a, v in of.items()), tasks=[task])
        for task, (of_post, of) in zip(tasks, values, strict=True)
    ]
    return pd.concat([slope_rows, ends, *score_rows], ignore_index=True)


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
