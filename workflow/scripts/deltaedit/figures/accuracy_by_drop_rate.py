"""Accuracy after DARE, its extension by k, and after dropping only, against the drop rate.

Figure 1 of Tang et al. 2024, A Unified View of Delta Parameter Editing.
"""

import math
import textwrap
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from deltaedit.errors import UserError
from deltaedit.figures import _style
from deltaedit.figures._rows import groups, one_selection

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
MAX_COLUMNS = 3  # wider panels leave room to see lines that coincide
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
    rows = table.assign(series=_series(table), stderr=table["stderr"].astype(float))
    rows = rows[rows["series"].notna()]
    if not rows["series"].isin(["dare", "drop_only"]).any():
        raise UserError("nothing to draw: no variant of dare, rescaled or with dropped_scale 0")
    one_selection(rows)
    point = [*PANEL, "series", "dropped_scale", "drop_rate"]
    # Two sweeps may share a variant: it counts once.
    seeds = groups(rows, [*point, "seed"])[["value", "stderr"]].mean().reset_index()
    drawn = groups(seeds, point).agg(
        accuracy=("value", "mean"),
        over_seeds=("value", "sem"),
        stderr=("stderr", "mean"),
        seeds=("value", "size"),
    )
    drawn["stderr"] = drawn["over_seeds"].where(drawn["seeds"] > 1, drawn["stderr"])
    return drawn.drop(columns="over_seeds").reset_index()


def _series(table: pd.DataFrame) -> pd.Series:
    """Name the series of each row, None where it is not drawn."""
    series = table["variant"].astype(object).where(table["sweep"] == "ends", None)
    dare = table["method"].isin(["dare"])
    if dare.any():  # else there may be no columns for its options
        rescaled = table["rescale"].isin([True])
        series[dare & rescaled] = "dare"
        only = table["rescale"].isin([False]) & (table["dropped_scale"] == 0)
        series[dare & only] = "drop_only"
    return series


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw a panel per pair and task, in it a line per k, one for drop only, and the two ends."""
    panels = list(groups(drawn, PANEL))
    rows = math.ceil(len(panels) / MAX_COLUMNS)
    columns = math.ceil(len(panels) / rows)
    width = _style.FULL_WIDTH if columns > 1 else _style.FULL_WIDTH / 2
    looks = _looks(drawn)
    drop_rates = np.unique(drawn["drop_rate"].dropna())
    sidestep = min(SIDESTEP, 45 * width / columns / len(drop_rates) / len(looks))
    legend_columns = min(len(looks), int(width / 1.1))
    height = 1.75 * rows + 0.2 * (1 + math.ceil(len(looks) / legend_columns))
    with _style.style():
        figure = Figure((width, height), layout="constrained")
        for place, (names, panel) in enumerate(panels):
            axes = figure.add_subplot(rows, columns, place + 1)
            ends = panel[panel["series"].isin(["base", "post"])]
            _style.draw_levels(axes, 100 * ends.set_index("series")["accuracy"], near=8)
            _draw_lines(axes, panel, looks, sidestep)
            _scale(axes, drop_rates)
            pair, task, metric, how = names
            repeated = sum(other[1] == task for other, _ in panels) > 1
            _name(axes, f"{task}, {pair}" if repeated else task, metric, how)
            axes.tick_params(labelleft=place % columns == 0)
            if place % columns == 0:
                axes.set_ylabel("accuracy (%)")
            if place + columns >= len(panels):
                axes.set_xlabel("drop rate $p$")
        handles = [Line2D([], [], **look) for look in looks.values()]
        figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns)
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
        look = {"label": _style.METHOD_LABELS["drop_only"], "linestyle": "--", "markersize": 3.5}
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
        shift = (place - (len(looks) - 1) / 2) * sidestep / 72
        aside = axes.transData + ScaledTranslation(shift, 0, axes.figure.dpi_scale_trans)
        x, y, spread = points["drop_rate"], 100 * points["accuracy"], 100 * points["stderr"]
        height = 2 if (series, k) == ("dare", 0) else 2.1
        axes.plot(x, y, transform=aside, **look | {"marker": "", "zorder": height})
        marks = look | {"linestyle": "", "zorder": 3}
        axes.errorbar(x, y, spread, transform=aside, elinewidth=0.8, **marks)


def _scale(axes: Axes, drop_rates: np.ndarray) -> None:
    """Set the limits and mark the drop rates that were measured, where their labels have room."""
    width = np.ptp(drop_rates) or 0.1
    axes.set_xlim(drop_rates[0] - 0.13 * width, drop_rates[-1] + 0.13 * width)
    if np.all(np.diff(drop_rates) >= 0.15 * width):
        axes.set_xticks(drop_rates, [f"{p:g}" for p in drop_rates])
    else:
        axes.locator_params(axis="x", nbins=5)
    axes.set_ylim(-5, 105)
    axes.set_yticks(range(0, 101, 25))


def _name(axes: Axes, task: str, metric: str, how: str) -> None:
    """Name the task and, below, its metric with the filter if there is one."""
    axes.set_title(textwrap.fill(task, 26), loc="left", pad=13, fontweight="bold")
    score = metric if how == "none" else f"{metric}, {how}"
    edge = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(score, (0, 1), (0, 4), **edge, color=_style.MUTED, fontsize=7)
