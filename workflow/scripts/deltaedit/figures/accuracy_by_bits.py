"""Accuracy of BitDelta against the number of bits, several models side by side.

Figure 4 of Tang et al. 2024, A Unified View of Delta Parameter Editing.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deltaedit.figures import _style
from deltaedit.figures._rows import ends, groups, of, one_selection, one_value, over_seeds

MEASURES = ("suite",)
CAPTION = (
    "Accuracy of BitDelta against the bits that each magnitude takes beside its sign, log2 of M: "
    "magnitudes are cut into M blocks of equal count, and each stands for its mean (0 bits is "
    "BitDelta itself). One panel per task, one line per pair; the dashed line of the same colour "
    "is its post-trained model. See how many bits reach it. Bars are one standard error."
)
TASK = ["task", "metric", "filter"]


@dataclass(frozen=True, kw_only=True)
class Params:
    """No options."""


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the accuracy of each pair and task at each number of bits, and of post.

    Args:
        table: scores, one row per variant and task.
        params: none.

    Returns:
        One row per task, pair and number of bits (NA: post): accuracy in [0, 1], stderr and the
        number of seeds.

    Raises:
        UserError: no variant of bitdelta with mean magnitudes, or variants that differ in more
            than their blocks.
    """
    rows = of(table, "bitdelta", magnitude="mean", scale_multiple=1.0)
    one_selection(rows)
    one_value(rows, "zero")
    rows = rows.assign(bits=np.log2(rows["blocks"].astype(float)))
    post = ends(table)
    post = post[post["variant"] == "post"].assign(bits=np.nan)
    drawn = over_seeds(pd.concat([rows, post]), [*TASK, "pair", "bits"])
    return drawn.rename(columns={"value": "accuracy"})


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw a panel per task, in it a line per pair and the level of its post-trained model."""
    panels = list(groups(drawn, TASK))
    looks = _style.looks_in_turn(drawn["pair"])
    handles = [Line2D([], [], **look) for look in looks.values()]
    handles.append(Line2D([], [], color=_style.MUTED, linestyle="--", label="post-trained"))
    with _style.style():
        figure, grid, columns = _style.panels(len(panels), 2.0, handles)
        for place, (axes, (names, panel)) in enumerate(zip(grid, panels, strict=True)):
            for pair, look in looks.items():
                rows = panel[panel["pair"] == pair]
                line = rows.dropna(subset=["bits"]).sort_values("bits")
                y, spread = 100 * line["accuracy"], 100 * line["stderr"].fillna(0)
                axes.errorbar(line["bits"], y, spread, elinewidth=0.8, **look)
                for level in rows.loc[rows["bits"].isna(), "accuracy"]:
                    axes.axhline(100 * level, color=look["color"], linestyle="--", linewidth=0.9)
            _style.name_task(axes, *names)
            _scale(axes, np.unique(drawn["bits"].dropna()))
            axes.set_xlabel("bits per magnitude ($\\log_2 M$)")
            if place % columns == 0:
                axes.set_ylabel("accuracy (%)")
    return figure


def _scale(axes: Axes, bits: np.ndarray) -> None:
    """Mark the sorted numbers of bits that were measured, where their labels have room."""
    if np.all(np.diff(bits) >= 0.1 * np.ptp(bits)):
        axes.set_xticks(bits, [f"{number:.3g}" for number in bits])
    else:
        axes.locator_params(axis="x", nbins=5)
