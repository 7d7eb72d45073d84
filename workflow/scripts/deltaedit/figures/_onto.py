"""Deltas on another base: what figures and tables ask of the scores of `combine` with `onto`.

A variant of a pair whose delta D is put onto the base of another pair is called base' + w D here,
with base' (and its own post', if there is one) the ends of that pair.
"""

import json
import textwrap
from collections.abc import Collection, Iterable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from deltaedit import published
from deltaedit.errors import UserError
from deltaedit.figures import _style
from deltaedit.figures._rows import ends, one_selection, over_seeds

TASK = ["suite", "task", "metric", "filter"]
MET = ["pair", "onto", "deltas", "weights"]  # what tells a sum of deltas on a base apart
# Along the scale of a delta: each level with its line, and with the end that it is, of the pair
# that the delta comes from or of that whose base takes it.
LEVELS = {"base'": (":", "#6e6e6e"), "post": ("--", "#e08214"), "post'": ("-.", "#17803d")}
ENDS = {"base'": ("base", "onto"), "post": ("post", "pair"), "post'": ("post", "onto")}
LOOK = {"color": "#1f5f8b", "marker": "o", **_style.EDGE}


def carried(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of variants that are base' + sum_i w_i D_i, any measurement of them.

    Combinations that edit, elect or average are no such sums and are left out; a scale of the
    whole is part of each weight.

    Raises:
        UserError: there is none.
    """
    rows = table[table["method"].isin(["combine"])]
    rows = rows[rows["onto"].notna()] if "onto" in rows else rows[:0]
    for name, value in {"edit": "{}", "elect": False, "mean": False}.items():
        rows = rows[rows[name].isin([value])] if name in rows else rows[:0]
    if rows.empty:
        raise UserError("nothing to draw: no variant of combine that is put onto another base")
    scaled = [
        json.dumps([scale * weight for weight in weights_of(text)])
        for scale, text in zip(rows["scale"], rows["weights"], strict=True)
    ]
    return rows.assign(weights=scaled)


def alone(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of base' + alpha D, with alpha, of those that `carried` found.

    Raises:
        UserError: there is none.
    """
    rows = rows[rows["deltas"] == "[]"]
    if rows.empty:
        raise UserError("nothing to draw: no variant that puts one delta alone onto another base")
    return rows.assign(alpha=[weights_of(text)[0] for text in rows["weights"]])


def sums(table: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of base' + sum_i w_i D_i, a row per sum and task, means over seeds.

    Args:
        table: scores, one row per variant and task.

    Returns:
        `MET`, `TASK`, value and stderr; weights and deltas (the further pairs) are lists as text.

    Raises:
        UserError: there is none (see `carried`), or variants edit different tensors.
    """
    rows = carried(table)
    one_selection(rows)
    return over_seeds(rows, [*MET, *TASK]).drop(columns="seeds")


def end(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the scores of one end, base or post, of all pairs: pair, `TASK`, value, stderr."""
    rows = ends(table)
    rows = rows[rows["variant"] == name]
    return over_seeds(rows, ["pair", *TASK]).drop(columns="seeds")


def weights_of(text: str) -> list[float]:
    """Return a list that `results.describe` made a text."""
    return [float(weight) for weight in json.loads(text)]


def with_weights(sums: pd.DataFrame, weights: Iterable[float]) -> pd.DataFrame:
    """Return the sums whose deltas have these weights, and are as many."""
    wanted = list(weights)
    return sums[sums["weights"].map(lambda text: weights_of(text) == wanted).astype(bool)]


def words(weights: Iterable[float], names: Iterable[str]) -> str:
    """Return a sum of deltas in words, such as "D + 0.5 D_med"."""
    terms = []
    for weight, name in zip(weights, names, strict=True):
        size = "" if abs(weight) == 1 else f"{abs(weight):g} "
        terms.append(f"{'-' if weight < 0 else '+'} {size}{name}")
    return " ".join(terms)


def in_percent(rows: pd.DataFrame, values: list[str]) -> pd.Series:
    """Say of each row whether all `values` of its task lie in [0, 1], so that it is a share."""
    inside = rows[values].apply(lambda column: column.between(0, 1) | column.isna()).all(axis=1)
    return inside.groupby([rows[name] for name in TASK]).transform("all")


def size_of(table: pd.DataFrame, pair: str, version: str) -> str | None:
    """Return the size of a pair that is Llama 3 or 3.1 as published, else None."""
    rows = table[table["pair"] == pair]
    found = (s for s in published.SIZES if published.is_of(rows, published.llama(version, s)).any())
    return next(found, None)


def title(pair: str, onto: str) -> str:
    """Name a delta times alpha and the base that takes it, in lines that fit a panel."""
    return textwrap.fill(f"αΔ {pair} on {onto}", 26)


def level_handles(found: Collection[str]) -> list[Line2D]:
    """Return the legend's lines of the levels that are among what was found."""
    return [
        Line2D([], [], color=color, linestyle=line, label=what)
        for what, (line, color) in LEVELS.items()
        if what in found
    ]


def draw_levels(axes: Axes, rows: pd.DataFrame, column: str) -> None:
    """Draw each level's value, if it is known, as a horizontal line."""
    for what, (line, color) in LEVELS.items():
        for height in rows.loc[rows["what"] == what, column].dropna():
            axes.axhline(height, color=color, linestyle=line, linewidth=1, zorder=1.9)


def ring(axes: Axes, curve: pd.DataFrame, column: str, *, least: bool) -> None:
    """Put a ring around the largest value of a curve along alpha, or around the least."""
    heights = curve[column].dropna()
    if len(heights):
        best = heights.idxmin() if least else heights.idxmax()
        look = {"markersize": 8, "markerfacecolor": "none", "markeredgewidth": 0.9, "marker": "o"}
        axes.plot(curve.loc[best, "alpha"], heights[best], color=LOOK["color"], **look)
