"""Figures of compared deltas draw their cosines and norms, whatever their number and names."""

import math

import numpy as np
import pandas as pd
import pytest

from deltaedit import figures
from deltaedit.errors import UserError
from deltaedit.figures import _deltas, _style, cosine_by_layer, cosine_map, norms_by_layer

from .figure_tables import check_text

KINDS = [cosine_map, cosine_by_layer, norms_by_layer]
WITHIN = {"attention": 400, "feed_forward": 1600, "norm": 16}
OUTSIDE = {"embedding": 900, "norm": 9}


def compared(deltas):
    """Make the rows of a comparison of vectors; `deltas` are part -> one row per pair, by name."""
    rows = []
    for (layer, group), vectors in deltas.items():
        names = list(vectors)
        for i, first in enumerate(names):
            for second in names[i:]:
                one, other = (np.asarray(vectors[name], float) for name in (first, second))
                scale = np.linalg.norm(one) * np.linalg.norm(other)
                rows.append(
                    {"layer": layer, "group": group, "first": first, "second": second}
                    | {"dot": one @ other, "cosine": one @ other / scale if scale else math.nan}
                    | {"norm_first": np.linalg.norm(one), "norm_second": np.linalg.norm(other)}
                    | {"entries": one.size}
                )
    return pd.DataFrame(rows).astype({"layer": "Int64"})


def random(names, layers, *, still=()):
    """Make a comparison of random deltas; those of the groups in `still` are zero."""
    draw = np.random.default_rng(0)
    sizes = {(layer, group): n for layer in range(layers) for group, n in WITHIN.items()}
    sizes |= {(None, group): n for group, n in OUTSIDE.items()}
    return compared(
        {
            (layer, group): {
                name: (group not in still) * (i + 1) * draw.standard_normal(n)
                for i, name in enumerate(names)
            }
            for (layer, group), n in sizes.items()
        }
    )


SMALL = compared(
    {
        (0, "attention"): {"a": [3, 0, 0, 0], "b": [3, 4, 0, 0], "c": [0, 0, 0, 0]},
        (1, "attention"): {"a": [0, 0, 0, 4], "b": [0, 0, 0, -12], "c": [0, 0, 0, 0]},
        (0, "norm"): {"a": [1, 0], "b": [0, 2], "c": [2, 2]},
        (None, "head"): {"a": [0, 5], "b": [0, 5], "c": [0, 0]},
    }
)
LONG = [f"a_post_trained_model_with_a_long_name_{i}" for i in range(10)]
SHAPES = {
    "three": SMALL,
    "two pairs of one layer": random("ab", 1),
    "ten pairs of 32 layers": random(LONG, 32),
    "twenty pairs": random([f"pair_{i}" for i in range(20)], 4),
    "a group that does not change": random("abc", 3, still=["embedding", "norm"]),
    "nothing changes": random("abc", 3, still=[*WITHIN, *OUTSIDE]),
}


def make(kind, table, **options):
    params = kind.Params(**options)
    return kind.draw(kind.select(table, params), params)


def row(drawn, **where):
    for name, value in where.items():
        drawn = drawn[drawn[name] == value]
    assert len(drawn) == 1
    return drawn.iloc[0]


# Every kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_draws_the_same_from_its_csv_and_changes_nothing(kind, tmp_path):
    before = SMALL.copy()
    drawn = kind.select(SMALL, kind.Params())
    kept = drawn.copy()
    again = []
    drawn.to_csv(tmp_path / "drawn.csv", index=False)
    for numbers in (drawn, pd.read_csv(tmp_path / "drawn.csv")):
        _style.save(kind.draw(numbers, kind.Params()), tmp_path / "a.svg", tmp_path / "a.png")
        again.append((tmp_path / "a.svg").read_bytes() + (tmp_path / "a.png").read_bytes())
    assert again[0] == again[1]
    pd.testing.assert_frame_equal(SMALL, before)
    pd.testing.assert_frame_equal(drawn, kept)
    assert not drawn.duplicated().any()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_draw_is_said_in_one_line(kind):
    for table in (SMALL[:0], SMALL.drop(columns=["cosine", "dot"]), pd.DataFrame()):
        with pytest.raises(UserError, match=r"^nothing to draw: [^\n]+$"):
            kind.select(table, kind.Params())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_all_text_is_inside_the_figure_and_apart(kind, shape, monkeypatch):
    figure = make(kind, SHAPES[shape])
    check_text(figure, monkeypatch, more_than=5, apart=lambda text: text != "−")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_in_the_folder_is_a_kind(kind):
    assert figures.load(kind.__name__.rpartition(".")[2]) is kind
    assert kind.MEASURES == ("comparison",)


# Cosines


def test_a_group_s_cosine_is_that_of_its_layers_as_one_vector():
    drawn = cosine_map.select(SMALL, cosine_map.Params())
    attention = row(drawn, group="attention", first="a", second="b")
    assert attention["cosine"] == pytest.approx((9 - 48) / (5 * 13)), "the layers' mean is -0.2"
    assert (attention["norm_first"], attention["norm_second"]) == (5, 13)
    assert attention["entries"] == 8
    whole = row(drawn, group=_deltas.ALL, first="a", second="b")
    assert whole["cosine"] == pytest.approx((9 - 48 + 0 + 25) / math.sqrt(51 * (169 + 4 + 25)))
    assert whole["entries"] == 12
    assert math.isnan(row(drawn, group="attention", first="a", second="c")["cosine"])
    assert row(drawn, group="norm", first="a", second="c")["cosine"] == pytest.approx(0.5**0.5)


def cells(axes):
    return np.ma.filled(axes.images[0].get_array().astype(float), np.nan)


def test_a_map_is_symmetric_fixed_to_one_and_has_its_numbers_in_the_cells():
    figure = make(cosine_map, SMALL)
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.images}
    assert list(panels) == ["attention", "norm weights", "head", "whole model"]
    half = 0.5**0.5
    expected = [[math.nan, 0, half], [0, math.nan, half], [half, half, math.nan]]
    np.testing.assert_allclose(cells(panels["norm weights"]), expected)
    for axes in panels.values():
        assert axes.images[0].get_clim() == (-1, 1)
    said = {text.get_position(): text.get_text() for text in panels["norm weights"].texts}
    assert said[0, 1] == said[1, 0] == "0.00"
    assert said[2, 0] == said[0, 2] == "0.71"
    assert len(said) == 6, "none on the diagonal"
    assert panels["attention"].texts[0].get_text() == "−0.60"
    labels = [label.get_text() for label in panels["attention"].get_yticklabels()]
    assert labels == ["a  1", "b  2", "c  3"]


def test_a_group_that_no_delta_changes_is_left_out_of_the_map():
    titles = [
        axes.get_title(loc="left")
        for axes in make(cosine_map, SHAPES["a group that does not change"]).axes
    ]
    assert titles[:3] == ["attention", "feed forward", "whole model"]


def test_where_numbers_have_no_room_a_minus_tells_the_sign():
    table = SHAPES["ten pairs of 32 layers"]
    drawn = cosine_by_layer.select(table, cosine_by_layer.Params())
    figure = cosine_by_layer.draw(drawn, cosine_by_layer.Params())
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert set(texts) == {"−"}
    assert len(texts) == (drawn["cosine"] <= -0.05).sum()


def test_cosines_by_layer_are_those_of_the_layers():
    drawn = cosine_by_layer.select(SMALL, cosine_by_layer.Params())
    assert set(drawn["layer"]) == {0, 1}
    assert row(drawn, layer=0, group="attention", first="a", second="b")["cosine"] == 0.6
    assert row(drawn, layer=1, group="attention", first="a", second="b")["cosine"] == -1
    attention = make(cosine_by_layer, SMALL).axes[0]
    np.testing.assert_array_equal(cells(attention), [[0.6, -1], *[[math.nan] * 2] * 2])
    labels = [label.get_text() for label in attention.get_yticklabels()]
    assert labels == ["a – b", "a – c", "b – c"]


def test_long_names_of_couples_are_numbers_with_a_key():
    figure = make(cosine_by_layer, SHAPES["ten pairs of 32 layers"])
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert (labels[0], labels[-1], len(labels)) == ("1 – 2", "9 – 10", 45)
    key = [text.get_text() for text in figure.legends[0].get_texts()]
    assert key == [f"{i + 1}  {name}" for i, name in enumerate(LONG)]


def test_models_without_layers_have_no_cosines_by_layer():
    with pytest.raises(UserError, match="nothing to draw: the compared models have no layers"):
        cosine_by_layer.select(SMALL[SMALL["layer"].isna()], cosine_by_layer.Params())


@pytest.mark.parametrize("name", ["short", "a_b-c.d", "x" * 70, *LONG])
def test_wrapped_names_lose_no_letter(name):
    lines = _deltas.wrap(name, 30).split("\n")
    assert "".join(lines) == name
    assert max(map(len, lines)) <= 30


# Norms


def test_norms_are_those_of_each_pair_and_rms_is_by_entry():
    drawn = norms_by_layer.select(SMALL, norms_by_layer.Params())
    assert len(drawn) == 4 * 3
    b = row(drawn, pair="b", layer=1, group="attention")
    assert (b["norm"], b["rms"], b["entries"]) == (12, 6, 4)
    assert row(drawn, pair="c", layer=0, group="attention")["norm"] == 0
    head = row(drawn[drawn["layer"].isna()], pair="a")
    assert (head["group"], head["norm"]) == ("head", 5)


@pytest.mark.parametrize(("measure", "heights"), [("norm", [5, 12]), ("rms", [2.5, 6])])
def test_a_line_per_pair_over_the_layers(measure, heights):
    figure = make(norms_by_layer, SMALL, measure=measure)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "attention",
        "norm weights",
        "outside the layers",
    ]
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines["b"].get_xdata()) == [0, 1]
    assert list(lines["b"].get_ydata()) == heights
    assert figure.axes[0].get_yscale() == "log"


def test_attention_and_feed_forward_share_a_scale():
    axes = make(norms_by_layer, SHAPES["ten pairs of 32 layers"]).axes
    assert axes[0].get_ylim() == axes[1].get_ylim() != axes[2].get_ylim()


def test_more_pairs_than_colours_are_told_apart():
    figure = make(norms_by_layer, SHAPES["twenty pairs"])
    lines = figure.axes[0].lines
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(looks) == 20
