"""How far post-training moves each layer: the norms of the deltas of several pairs.

Figures 3 and 8 of Cao et al. 2025, ParamDelta for Direct Weight Mixing.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from deltaedit.figures import _deltas, _style

MEASURES = ("comparison",)
CAPTION = (
    "How far post-training moves each layer: the norm of every pair's delta in each group of "
    "tensors. Attention and feed-forward share one logarithmic scale; a delta that is zero has no "
    "mark. Compare these two: the paper finds the norms in feed-forward layers larger, but they "
    "also have more entries; the root mean square (measure: rms) is free of that."
)
LABELS = {"norm": "norm of the delta", "rms": "RMS of the delta"}
OUTSIDE = "outside the layers"
SHARED = ["attention", "feed_forward"]  # on one scale


@dataclass(frozen=True, kw_only=True)
class Params:
    measure: Literal["norm", "rms"] = "norm"


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the size of every pair's delta in each layer and group.

        norm = sqrt(sum_i D_i^2),  rms = norm / sqrt(entries), both in units of weights

    Args:
        table: of a comparison, one row per layer, group and couple of pairs.
        params: see `Params`.

    Returns:
        One row per pair, layer (NA: outside the layers) and group: norm, rms and entries.

    Raises:
        UserError: the table has no comparison.
    """
    rows = _deltas.compared(table)
    rows = rows[rows["first"] == rows["second"]].rename(
        columns={"first": "pair", "norm_first": "norm"}
    )
    drawn = rows[["pair", "layer", "group", "norm", "entries"]].reset_index(drop=True)
    drawn.insert(4, "rms", drawn["norm"] / np.sqrt(drawn["entries"].astype(float)))
    return drawn.astype({"layer": "Int64", "entries": "int64"})


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw a panel for each group with a line per pair over the layers, and one for the rest."""
    changed = drawn[drawn[params.measure] > 0]
    seen = (changed if len(changed) else drawn).rename(columns={params.measure: "value"})
    panel = seen["group"].where(seen["layer"].notna(), OUTSIDE)
    titles = [*_deltas.in_order(panel), *[OUTSIDE] * bool(seen["layer"].isna().any())]
    looks = _style.looks_in_turn(drawn["pair"])
    for i, look in enumerate(looks.values()):
        look["linestyle"] = "-" if i < 8 else "--"  # from there on colours come again
    handles = [Line2D([], [], **look) for look in looks.values()]
    with _style.style():
        figure, grid, per_row = _style.panels(len(titles), 1.75, handles)
        for place, (axes, group) in enumerate(zip(grid, titles, strict=True)):
            draw_panel = _draw_outside if group == OUTSIDE else _draw_layers
            draw_panel(axes, seen[panel == group], looks)
            axes.set_title(_deltas.title(group), loc="left", fontweight="bold")
            scale = SHARED if group in SHARED else [group]
            _scale(axes, seen.loc[panel.isin(scale), "value"])
            if place % per_row == 0:
                axes.set_ylabel(LABELS[params.measure])
    return figure


def _draw_layers(axes: Axes, rows: pd.DataFrame, looks: dict) -> None:
    layers = sorted(rows["layer"].unique())
    every = max(1, len(layers) // 6)
    for i, (pair, look) in enumerate(looks.items()):
        line = rows[rows["pair"] == pair].sort_values("layer")
        marks = slice(i % every, None, every)  # of many layers some, so that lines stay in sight
        axes.plot(line["layer"].astype(int), line["value"], **look, markevery=marks)
    axes.set_xlabel("layer")
    axes.locator_params(axis="x", integer=True, nbins=8)


def _draw_outside(axes: Axes, rows: pd.DataFrame, looks: dict) -> None:
    kinds = _deltas.in_order(rows["group"])
    for i, (pair, look) in enumerate(looks.items()):
        points = rows[rows["pair"] == pair].set_index("group")["value"].reindex(kinds)
        aside = 0.5 * ((i + 0.5) / len(looks) - 0.5)
        axes.plot(np.arange(len(kinds)) + aside, points, **look | {"linestyle": "none"})
    axes.set_xlim(-0.5, max(len(kinds), 1) - 0.5)
    axes.set_xticks(range(len(kinds)), [_deltas.title(kind) for kind in kinds])


def _scale(axes: Axes, values: pd.Series) -> None:
    """Make the y axis logarithmic, over `values`, unless all are zero."""
    low, high = values.min(), values.max()
    if not low > 0:
        return
    axes.set_yscale("log")
    axes.set_ylim(low / 1.4, high * 1.4)
    decades = np.log10(high / low)
    steps = (1, 2, 5) if decades < 2 else (1, 3) if decades < 3 else (1,)
    axes.yaxis.set_major_locator(LogLocator(subs=steps))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
