"""Accuracy after DARE, its extension by k, and after dropping only, against the drop rate.

Figure 1 of Tang et al. 2024, A Unified View of Delta Parameter Editing.
"""

from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deltaedit import results
from deltaedit.errors import UserError
from deltaedit.figures import _style
from deltaedit.figures._rows import groups, one_selection, over_seeds

MEASURES = ("suite",)
CAPTION = (
    "Accuracy against the drop rate p, one panel per pair and task: each entry of the delta is "
    "multiplied by k with probability p and the others are rescaled to keep the mean (k = 0 is "
    "DARE), or dropped with probability p without rescaling (drop only). Compare each line with "
    "the two horizontal ones, the post-trained model and its base (of CLIP, zero-shot). Lines are "
    "means over seeds with one standard error (over seeds, or of the evaluation where there is one "
    "seed), and markers of one p stand side by side so that none hides another."
)
PANEL = ["pair", "task", "metric", "filter"]
SIDESTEP = 3.4  # points between the markers of neighbouring lines at one p, at most


@dataclass(frozen=True, kw_only=True)
class Params:
    """No options."""


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the mean accuracy over seeds of each pair, task, series and drop rate.

    Args:
        table: scores, one row per variant and task.
        params: none.

    Returns:
        One row per pair, task, series (base, post, dare, drop_only), k and p: accuracy in [0, 1],
        its stderr (over seeds if there are several, else the evaluation's) and the number of seeds.

    Raises:
        UserError: no variant of dare that this figure draws, or variants that edit other tensors.
    """
    rows = table.assign(series=_series(table))
    rows = rows[rows["series"].notna()]
    if not rows["series"].isin(["dare", "drop_only"]).any():
        raise UserError("nothing to draw: no variant of dare, rescaled or with dropped_scale 0")
    one_selection(rows)
    drawn = over_seeds(rows, [*PANEL, "series", "dropped_scale", "drop_rate"])
    return drawn.rename(columns={"value": "accuracy"})


def _series(table: pd.DataFrame) -> pd.Series:
    """Name the series of each row, None where it is not drawn."""
    names = results.series(table)
    drawn = names.isin(["base", "post"])
    drawn |= (names == "dare") & results.has(table, "rescale", True)
    drawn |= (names == "drop_only") & results.has(table, "dropped_scale", 0)
    return names.where(drawn, None)


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw a panel per pair and task, in it a line per k, one for drop only, and the two ends."""
    panels = list(groups(drawn, PANEL))
    looks = _looks(drawn)
    drop_rates = np.unique(drawn["drop_rate"].dropna())
    with _style.style():
        handles = [Line2D([], [], **look) for look in looks.values()]
        figure, grid, columns = _style.panels(len(panels), 1.75, handles)
        width = figure.get_figwidth() / columns
        sidestep = min(SIDESTEP, 45 * width / len(drop_rates) / len(looks))
        for place, (names, panel) in enumerate(panels):
            axes = grid[place]
            ends = panel[panel["series"].isin(["base", "post"])]
            _style.draw_levels(axes, 100 * ends.set_index("series")["accuracy"], near=8)
            _draw_lines(axes, panel, looks, sidestep)
            _style.scale_percent(axes, drop_rates)
            pair, task, metric, how = names
            repeated = sum(other[1] == task for other, _ in panels) > 1
            _style.name_task(axes, f"{task}, {pair}" if repeated else task, metric, how)
            axes.tick_params(labelleft=place % columns == 0)
            if place % columns == 0:
                axes.set_ylabel("accuracy (%)")
            if place + columns >= len(panels):
                axes.set_xlabel("drop rate $p$")
    return figure


def _looks(drawn: pd.DataFrame) -> dict[tuple[str, float], dict[str, Any]]:
    """Return how the line of each series and k looks, in the legend's order."""
    looks: dict[tuple[str, float], dict[str, Any]] = {}
    below, above = cycle("v<pX"), cycle("^>Dh")
    for k in sorted(drawn.loc[drawn["series"] == "dare", "dropped_scale"].unique()):
        look = {"label": f"$k$ = {k:g}".replace("-", "−"), "color": _style.scale_color(k)}
        looks["dare", k] = look | {"marker": next(below if k < 0 else above)}
    if ("dare", 0) in looks:
        looks["dare", 0] |= {"label": "$k$ = 0 (DARE)", "marker": "o", "linewidth": 2.6}
    if (drawn["series"] == "drop_only").any():
        look = {"label": results.label("drop_only"), "linestyle": "--", "markersize": 3.5}
        look |= {"color": _style.METHOD_COLORS["drop_only"]}
        looks["drop_only", 0] = look | {"marker": _style.METHOD_MARKERS["drop_only"]}
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.4}
    return {line: look | edge for line, look in looks.items()}


def _draw_lines(axes: Axes, panel: pd.DataFrame, looks: dict, sidestep: float) -> None:
    """Draw the lines of a panel, each moved a little to the side on paper, not in its data.

    Where lines coincide, DARE's shows as a broad band under the others, and all markers are on
    top of all lines.
    """
    for place, ((series, k), look) in enumerate(looks.items()):
        points = panel[(panel["series"] == series) & (panel["dropped_scale"] == k)]
        points = points.sort_values("drop_rate")
        aside = _style.aside(axes, (place - (len(looks) - 1) / 2) * sidestep)
        x, y, spread = points["drop_rate"], 100 * points["accuracy"], 100 * points["stderr"]
        height = 2 if (series, k) == ("dare", 0) else 2.1
        axes.plot(x, y, transform=aside, **look | {"marker": "", "zorder": height})
        marks = look | {"linestyle": "", "zorder": 3}
        axes.errorbar(x, y, spread, transform=aside, elinewidth=0.8, **marks)
