"""Every kind of figure keeps the contract of its folder, and all have one look."""

import dataclasses
import itertools
import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from deltaedit import edits, figures, logs, results
from deltaedit.errors import UserError
from deltaedit.figures import _style

from .figure_tables import (
    BASE,
    POST,
    SCORES,
    SLOPES,
    TABLES,
    bitdelta,
    check_text,
    curvature,
    dare,
    edit,
    every_edit,
    expo,
    low_rank,
    make,
    scores,
    sizes,
    slopes,
    together,
)
from .param_delta_tables import LOST, MEDICAL
from .test_figures_geometry import SHAPES as COMPARED
from .test_figures_geometry import SMALL
from .test_figures_transfer import many, many_losses

PAPER = {
    *("accuracy_by_drop_rate", "loss_terms", "accuracy_by_bits", "accuracy_by_magnitude"),
    *("along_alpha", "gap_along_alpha"),
    *("cosine_map", "cosine_by_layer", "norms_by_layer"),
    *("transfer_efficiency", "accuracy_by_scale"),
}
TABLES = {**TABLES, ("comparison",): SMALL, ("suite", "onto"): MEDICAL, ("loss", "onto"): LOST}
OF_VARIANTS = [name for name in figures.NAMES if "comparison" not in figures.load(name).MEASURES]
# The methods that a kind draws, where it does not draw all.
DRAWN = {
    "accuracy_by_bits": ["bitdelta"],
    "accuracy_by_drop_rate": ["dare"],
    "accuracy_by_intensity": ["dare"],
    "accuracy_by_magnitude": ["bitdelta"],
    "accuracy_by_scale": ["combine"],
    "along_alpha": ["expo"],
    "gap_along_alpha": ["expo"],
    "loss_by_scale": ["combine"],
    "loss_terms": ["dare", "ties", "low_rank", "bitdelta"],
    "transfer_efficiency": ["combine"],
}
# Kinds in which every variant is a point of its own, or a share of its own change.
APART = {
    *("accuracy_by_intensity", "accuracy_by_loss_change", "accuracy_by_size"),
    *("approximated_by_measured", "slopes_by_layer"),
}
BEYOND = {"loss_by_scale"}
# Variants of a drawn method with options that a kind does not draw.
NOT_DRAWN = {
    "accuracy_by_bits": [bitdelta(scale_multiple=2.0), bitdelta(magnitude="normal")],
    "accuracy_by_drop_rate": [dare(0.5, 0.5, rescale=False), dare(0.5, rescale="l1")],
    "accuracy_by_intensity": [dare(0.5, rescale=False), bitdelta()],
    "accuracy_by_magnitude": [bitdelta(2)],
    "loss_terms": [
        dare(0.5, 0.5),
        edit("ties", drop_rate=0.5, over="model"),
        bitdelta(magnitude="uniform"),
        bitdelta(scale_multiple=0.5),
    ],
}


@pytest.fixture(params=figures.NAMES)
def kind(request):
    return figures.load(request.param)


def name_of(kind):
    return kind.__name__.rpartition(".")[2]


def test_the_figures_of_the_paper_are_there():
    assert set(figures.NAMES) >= PAPER | APART | BEYOND
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


@pytest.mark.parametrize("with_options", [True, False])
@pytest.mark.parametrize("name", OF_VARIANTS)
def test_nothing_to_draw_is_said_in_one_line(name, with_options):
    kind = figures.load(name)
    table = TABLES[kind.MEASURES]
    table = table[~table["method"].isin(DRAWN.get(name_of(kind), edits.NAMES))]
    if not with_options:  # a study without these methods has no columns for their options
        names = {field.name for name in edits.NAMES for field in _options(name)}
        table = table.drop(columns=[n for n in table if n in names and table[n].isna().all()])
    with pytest.raises(UserError, match=r"^nothing to draw: [^\n]+$"):
        kind.select(table, kind.Params())


def _options(method):
    return dataclasses.fields(edits.load(method).Params)


@pytest.mark.parametrize("name", NOT_DRAWN)
def test_a_method_s_variants_that_a_kind_does_not_draw_are_nothing_to_draw(name):
    kind, rest = figures.load(name), NOT_DRAWN[name]
    measured = {
        "suite": scores((BASE, 0.0, 0.1), (POST, 0.5, 0.1), *((v, 0.25, 0.1) for v in rest))
    }
    measured["loss"] = slopes(*((v, {"a": (1.0, 1.0)}, 1.0) for v in (POST, *rest)))
    measured["curvature"] = curvature(1.0)
    table = together(*(measured[what] for what in kind.MEASURES))
    with pytest.raises(UserError, match=r"^nothing to draw: [^\n]+$"):
        kind.select(table, kind.Params())


@pytest.mark.parametrize("name", OF_VARIANTS)
def test_variants_that_edit_other_tensors_are_not_averaged(name):
    kind = figures.load(name)
    table = TABLES[kind.MEASURES].copy()
    drawn = kind.select(table, kind.Params())
    rows = table[table["method"].isin(DRAWN.get(name_of(kind), edits.NAMES))]
    table.loc[table["variant"] == rows["variant"].iloc[0], "tensors"] = "others"
    if name_of(kind) in APART:
        again = kind.select(table, kind.Params())
        unchanged = [name for name in drawn if name != "tensors"]
        pd.testing.assert_frame_equal(again[unchanged], drawn[unchanged])
    else:
        with pytest.raises(UserError, match=r"edit different tensors \(\w+ and \w+\)"):
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


LONG = [f"a_pair_of_two_models_with_a_long_name_{i}" for i in range(7)]
LONG_TASKS = [f"a_task_with_a_long_name_{i}" for i in range(8)]
LONG_METRIC = {"metric": "exact_match", "how": "flexible-extract"}
ENDS = [(BASE, 0.0, 0.01), (POST, 1.0, 0.01)]


def many_tasks(count, near=False):
    """Make scores of `count` tasks with long names, many k and many p."""
    ends = [(BASE, 0.0, 0.01), (POST, 0.0 if near else 1.0, 0.01)]
    grid = [
        (dare(p / 10, k), 1 - p / 20 + k / 50, 0.02)
        for p in (1, 2, 5, 8, 9)
        for k in (-10, -1, -0.5, -0.25, 0, 0.5, 1.25, 2)
    ]
    return scores(*ends, *grid, tasks=LONG_TASKS[:count], **LONG_METRIC)


def many_values(variants, tasks=LONG_TASKS[:2], pairs=LONG, **more):
    """Make scores of the variants and both ends in many pairs, all in [0, 1]."""
    table = scores(
        *ENDS,
        *((v, 0.1 + 0.8 * i / len(variants), 0.05) for i, v in enumerate(variants)),
        tasks=tasks,
        **LONG_METRIC | more,
    )
    return together(*(table.assign(pair=pair) for pair in pairs))


def many_slopes(variants, pairs=LONG, layers=1, rules=("left",)):
    """Make slopes of the variants in many pairs, of both signs and all sizes."""
    measured = [(v, _terms(i, layers), 0.9 * _ladder(i)) for i, v in enumerate(variants)]
    table = together(*(slopes(*measured, rule=rule) for rule in rules))
    return together(*(table.assign(pair=pair) for pair in pairs))


def _ladder(i):
    return (-7.0) ** (3 - i % 9)


def _terms(i, layers):
    groups = ("q_proj", "mlp")
    parts = {f"layers.{layer}.{name}": (-1.0, 3.0) for layer in range(layers) for name in groups}
    return parts | {"embed": (_ladder(i), 1e-5)}


EVERY = every_edit()
SIZED = [
    (bitdelta(), "packed", 61),
    (dare(0.5), "sparse", 750),
    (dare(0.9), "sparse", 160),
    *((low_rank(rank=r), "adapter", 0.2 * r) for r in (1, 4, 16, 64, 256)),
    *((v, "sparse", 300 + 40 * i) for i, v in enumerate(EVERY)),
]
SHAPES = {
    "cosines": ("cosine_map", COMPARED["a group that does not change"]),
    "cosines by layer": ("cosine_by_layer", COMPARED["a group that does not change"]),
    "norms": ("norms_by_layer", COMPARED["a group that does not change"]),
    "transfers": ("transfer_efficiency", many(3)),
    "scales": ("accuracy_by_scale", many(3)),
    "losses by scale": ("loss_by_scale", many_losses(3)),
    "scores": ("accuracy_by_drop_rate", SCORES),
    "one task": ("accuracy_by_drop_rate", many_tasks(1)),
    "five tasks": ("accuracy_by_drop_rate", many_tasks(5, near=True)),
    "eight tasks": ("accuracy_by_drop_rate", many_tasks(8)),
    "slopes": ("loss_terms", SLOPES),
    "wide slopes": (
        "loss_terms",
        slopes(
            *((dare(p / 10), {"a": (9.0**-p, 5.0), "b": (-7.0, 1e-7)}, 1e3) for p in range(10)),
        ),
    ),
    "slopes of zero": ("loss_terms", slopes((dare(0.0), {"a": (0.0, 0.0)}, 0.0))),
    "slopes of five methods": (
        "loss_terms",
        many_slopes(
            [
                *(dare(p / 10, rescale=r) for p in (1, 3, 5, 7, 9) for r in (True, False)),
                *(edit("ties", drop_rate=p / 10) for p in (1, 3, 5, 7, 9)),
                *(low_rank(rank=2**i) for i in range(0, 9, 2)),
                *(bitdelta(2**i) for i in range(0, 9, 2)),
            ],
            ["demo"],
        ),
    ),
    "bits": ("accuracy_by_bits", many_values([bitdelta(m) for m in (1, 2, 3, 4, 8, 16)])),
    "many bits": (
        "accuracy_by_bits",
        many_values([bitdelta(2**i) for i in range(17)], LONG_TASKS, ["demo"]),
    ),
    "magnitudes": (
        "accuracy_by_magnitude",
        many_values(
            [
                bitdelta(magnitude=name, scale_multiple=c)
                for name in ("mean", "normal", "uniform")
                for c in (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
            ],
            LONG_TASKS,
            ["demo"],
        ),
    ),
    "gaps": ("gap_along_alpha", many_values([expo(a / 10) for a in range(-10, 11)], LONG_TASKS)),
    "gaps of a reward": (
        "gap_along_alpha",
        scores(
            (POST, -50.0, 0.1),
            *((expo(a), 1234.5 * a, 0.1) for a in (-1.0, 0.5)),
            tasks=["r"],
            metric="a_reward_with_a_name",
        ),
    ),
    "along alpha": (
        "along_alpha",
        together(
            many_values([expo(a / 10) for a in range(-10, 11)], LONG_TASKS, ["demo"]),
            many_slopes([POST, *(expo(a / 10) for a in range(-10, 11))], ["demo"]),
        ),
    ),
    "five quadratures": (
        "approximated_by_measured",
        many_slopes(EVERY, rules=("left", "right", "midpoint", "simpson", "gauss_legendre")),
    ),
    "one quadrature": ("approximated_by_measured", many_slopes(EVERY)),
    "loss and score": (
        "accuracy_by_loss_change",
        together(many_values(EVERY), many_slopes(EVERY)),
    ),
    "loss and score of one pair": (
        "accuracy_by_loss_change",
        together(many_values(EVERY, pairs=LONG[:1]), many_slopes(EVERY, LONG[:1])),
    ),
    "intensity": (
        "accuracy_by_intensity",
        together(
            many_values([dare(p / 10) for p in range(10)], pairs=["demo"]),
            slopes(*((dare(p / 10), {"a": (1.0, 1.0)}, 10.0 ** (p - 9)) for p in range(10))),
            curvature(1e-6),
        ),
    ),
    "layers": ("slopes_by_layer", many_slopes(EVERY, ["demo"], layers=32)),
    "one method's layers": ("slopes_by_layer", many_slopes(EVERY[:1], ["demo"], layers=80)),
    "sizes": (
        "accuracy_by_size",
        together(
            many_values([which for which, _, _ in SIZED]),
            *(sizes(*SIZED).assign(pair=pair) for pair in LONG),
        ),
    ),
    "tiny sizes": (
        "accuracy_by_size",
        together(
            scores(*ENDS, (low_rank(rank=1), 0.5, 0.1), (low_rank(rank=2), 0.75, 0.1)),
            sizes((low_rank(rank=1), "adapter", 0.4), (low_rank(rank=2), "adapter", 0.8)),
        ),
    ),
}


def shape(name):
    kind, table = SHAPES[name]
    return make(figures.load(kind), table)


def test_every_kind_is_among_the_shapes():
    assert {kind for kind, _ in SHAPES.values()} == set(figures.NAMES)


@pytest.mark.parametrize("name", ["five tasks", "slopes"])  # rows of panels settle slowly
def test_the_same_table_gives_the_same_bytes(name, tmp_path):
    figure = shape(name)
    svg, png = _bytes(figure, tmp_path)
    assert _bytes(figure, tmp_path) == (svg, png)
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.hashsalt": "x"}):
        assert _bytes(shape(name), tmp_path) == (svg, png), "a user's matplotlibrc matters"
    assert b"<svg" in svg
    assert b"<dc:date>" not in svg
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20]) == round(200 * figure.get_figwidth())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.png", "figure.svg"]


@pytest.mark.parametrize("name", SHAPES)
def test_all_text_is_inside_the_figure_and_apart(name, monkeypatch):
    figure = shape(name)
    check_text(figure, monkeypatch, more_than=10)


# What scores are


@pytest.fixture
def plot(tmp_path, monkeypatch):
    """Return a function that plots a table as the workflow does; it returns figure and CSV."""
    monkeypatch.setattr(logs, "to_file", lambda path: None)
    job = {"snakemake": SimpleNamespace(log=[None])}
    script = runpy.run_path(str(Path(results.__file__).parents[1] / "plot_figure.py"), job)
    plotted, save = [], _style.save
    monkeypatch.setattr(
        _style, "save", lambda figure, *paths: plotted.append(figure) or save(figure, *paths)
    )
    files = [str(tmp_path / f"figure.{ending}") for ending in ("svg", "png", "csv")]

    def run(name, table):
        rows = [row.dropna().to_dict() for _, row in table.astype(object).iterrows()]
        file = tmp_path / "rows.json"
        file.write_text(json.dumps({"rows": rows, "provenance": {"base": {}, "post": {}}}))
        script["plot_figure"]([str(file)], {"kind": name, "options": {}}, *files)
        return plotted[-1], pd.read_csv(files[-1])

    return run


OF_SCORES = [name for name in figures.NAMES if "suite" in figures.load(name).MEASURES]


def words(figure):
    return " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())


@pytest.mark.parametrize("name", OF_SCORES)
def test_scores_of_a_smoke_run_say_so_in_the_figure_and_its_csv(name, plot, monkeypatch):
    table = TABLES[figures.load(name).MEASURES]
    figure, csv = plot(name, table)
    assert "limited" not in csv
    assert "At most" not in words(figure)
    limit = pd.Series(16, table.index).where(table["task"].notna())
    figure, csv = plot(name, table.assign(limit=limit))
    assert words(figure).count("At most 16 documents per task.") == 1
    assert set(csv["limited"]) == {"At most 16 documents per task."}
    check_text(figure, monkeypatch, 10, apart=lambda text: "10^" not in text)


@pytest.mark.parametrize("name", OF_SCORES)
def test_the_metric_of_each_task_is_in_the_figure_with_its_filter(name):
    table = TABLES[figures.load(name).MEASURES].copy()
    scored = table["task"].notna()
    table.loc[scored, "metric"] = table.loc[scored, "task"].map(lambda task: f"match_{task}")
    table.loc[scored, "filter"] = table.loc[scored, "task"].map(lambda task: f"strict_{task}")
    found = words(make(figures.load(name), table))
    for task in table.loc[scored, "task"].unique():
        assert f"match_{task}, strict_{task}" in found


# Colours


def lightness(color):
    return np.dot((0.2126, 0.7152, 0.0722), np.power(to_rgb(color), 2.2))


def test_colours_of_k_grow_lighter_with_k_so_they_order_in_grey():
    scales = (-100, -2, -1, -0.5, -0.25, 0, 0.5, 1, 1.5, 3)
    found = [lightness(_style.scale_color(k)) for k in scales]
    assert found == sorted(found)
    assert len(set(found)) == len(scales)
    assert _style.scale_color(0.0) == _style.METHOD_COLORS["dare"]


def test_dare_and_drop_only_differ_in_grey():
    colors = (_style.METHOD_COLORS[name] for name in ("dare", "drop_only"))
    dark, light = sorted(map(lightness, colors))
    assert light + 0.05 > 3 * (dark + 0.05), "contrast ratio"


def test_every_method_has_a_colour_a_shape_and_a_name_of_its_own():
    series = set(results.series(pd.DataFrame(EVERY)))
    assert series == set(_style.METHOD_COLORS) == set(_style.METHOD_MARKERS)
    assert series <= set(results.LABELS)
    looks = [_style.look(name) for name in _style.METHOD_COLORS]
    for one, other in itertools.combinations(looks, 2):
        assert one["color"] != other["color"]
        assert one["marker"] != other["marker"], "those who see no colours have the shapes"
        assert one["label"] != other["label"]


def test_an_unknown_method_has_a_look_too_the_same_each_time():
    look = _style.look("my_method")
    assert look == _style.look("my_method")
    assert look["label"] == "my method"
    assert look["marker"] not in _style.METHOD_MARKERS.values()
    assert len({_style.look(f"my_method{i}")["color"] for i in range(9)}) > 1
    assert _style.in_order(["my_method", "expo", "dare", "expo"]) == ["dare", "expo", "my_method"]


def test_names_that_are_no_method_look_different_in_turn():
    looks = _style.looks_in_turn(["b", "a", "b", *"cdefgh"])
    assert [look["label"] for look in looks.values()] == list("bacdefgh")
    assert len({(look["color"], look["marker"]) for look in looks.values()}) == 8


def test_the_lines_of_a_legend_are_of_like_length():
    handles = [Line2D([], [], label="k = 0 (DARE)") for _ in range(6)]
    figure, _, _ = _style.panels(2, 1.5, handles)
    [legend] = figure.legends
    assert legend._ncols == 3, "two lines of three, not of five and one"
