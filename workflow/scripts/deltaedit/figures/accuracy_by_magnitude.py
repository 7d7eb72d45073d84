"""Accuracy after the signs of a delta take other magnitudes than BitDelta's mean.

Figures 5 and 12 of Tang et al. 2024, A Unified View of Delta Parameter Editing.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deltaedit.figures import _style
from deltaedit.figures._rows import ends, groups, of, one_pair, one_selection, one_value, over_seeds

MEASURES = ("suite",)
CAPTION = (
    "Accuracy after each delta entry keeps its sign and takes another magnitude: a multiple of the "
    "mean magnitude (degenerate; at 1 it is BitDelta), or magnitudes drawn at random from a normal "
    "or a uniform distribution with that multiple as their mean. One panel per task, with the "
    "post-trained model and its base as horizontal lines. See where each curve peaks, and whether "
    "random magnitudes do worse than one mean. Bars are one standard error, over seeds where there "
    "are several; markers of one multiple stand side by side."
)
SIDESTEP = 3.4  # points between the markers of neighbouring lines at one multiple
TASK = ["task", "metric", "filter"]
LOOKS = {
    "mean": {"label": "degenerate", "color": _style.METHOD_COLORS["bitdelta"], "marker": "D"},
    "normal": {"label": "normal", "color": "#e08214", "marker": "o"},
    "uniform": {"label": "uniform", "color": "#7b3294", "marker": "s"},
}


@dataclass(frozen=True, kw_only=True)
class Params:
    """No options."""


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the accuracy of each task, kind of magnitude and multiple of the mean.

    Args:
        table: scores, one row per variant and task.
        params: none.

    Returns:
        One row per task, magnitude (mean, normal, uniform; base, post) and scale_multiple:
        accuracy in [0, 1], stderr and the number of seeds.

    Raises:
        UserError: no variant of bitdelta with one block, several pairs, or variants that
            differ in more than their magnitudes.
    """
    one_pair(table)
    rows = of(table, "bitdelta", blocks=1)
    one_selection(rows)
    one_value(rows, "zero")
    levels = ends(table)
    levels = levels.assign(magnitude=levels["variant"], scale_multiple=np.nan)
    drawn = over_seeds(pd.concat([rows, levels]), [*TASK, "magnitude", "scale_multiple"])
    return drawn.rename(columns={"value": "accuracy"})


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw a panel per task, in it a line per kind of magnitude, and the two ends."""
    panels = list(groups(drawn, TASK))
    measured = set(drawn["magnitude"])
    looks = {name: look | _style.EDGE for name, look in LOOKS.items() if name in measured}
    multiples = np.unique(drawn["scale_multiple"].dropna())
    with _style.style():
        handles = [Line2D([], [], **look) for look in looks.values()]
        figure, grid, columns = _style.panels(len(panels), 1.9, handles)
        for place, (axes, (names, panel)) in enumerate(zip(grid, panels, strict=True)):
            levels = panel[panel["magnitude"].isin(["base", "post"])]
            _style.draw_levels(axes, 100 * levels.set_index("magnitude")["accuracy"], near=8)
            axes.axvline(1, color=_style.MUTED, linewidth=0.6)
            for i, (name, look) in enumerate(looks.items()):
                rows = panel[panel["magnitude"] == name].sort_values("scale_multiple")
                y, spread = 100 * rows["accuracy"], 100 * rows["stderr"].fillna(0)
                aside = _style.aside(axes, (i - (len(looks) - 1) / 2) * SIDESTEP)
                more = {"elinewidth": 0.8, "transform": aside}
                axes.errorbar(rows["scale_multiple"], y, spread, **look, **more)
            _style.scale_percent(axes, multiples)
            _style.name_task(axes, *names)
            axes.tick_params(labelleft=place % columns == 0)
            axes.set_xlabel("multiple of the mean magnitude")
            if place % columns == 0:
                axes.set_ylabel("accuracy (%)")
    return figure
