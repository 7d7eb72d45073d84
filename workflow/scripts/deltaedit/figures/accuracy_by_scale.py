"""Scores along the scale of a delta that is put onto another base.

Figures 6, 9 and 10 of Cao et al. 2025, ParamDelta.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deltaedit.figures import _onto, _style
from deltaedit.figures._rows import groups

MEASURES = ("suite", "onto")
CAPTION = (
    "Scores of base' + alpha delta, where the delta comes from another base, along alpha; one "
    "panel per task (and delta and base, where there are several), with one standard error. A "
    "ring marks the best alpha, the vertical line alpha = 1, where the delta is added as it is. "
    "Horizontal lines are base', the post-trained model that the delta comes from (post), and, "
    "where there is one, the model post-trained on base' itself (post'). See whether the curve is "
    "flat around one, where its best alpha stands, and how much of the way to post' it goes."
)
SUM = "sum"
LEAST = 15  # points that an axis spans, so that noise does not fill it


@dataclass(frozen=True, kw_only=True)
class Params:
    """No options."""


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the scores of base' + alpha D and, as levels, of base', post and post'.

    Args:
        table: scores, one row per variant and task, also of the ends of the pairs of base'.
        params: none.

    Returns:
        One row per pair, base that takes the delta (onto), task, what (sum, base', post or post')
        and alpha (NA for levels): unit (%, or the metric where it is no share), score in that unit
        and stderr.

    Raises:
        UserError: no such variant with one delta, or variants that edit other tensors.
    """
    sums = _onto.alone(_onto.sums(table)).assign(what=SUM).sort_values("alpha", kind="stable")
    keys = ["pair", "onto", *_onto.TASK]
    places = sums[keys].drop_duplicates()
    rows = [sums]
    for what, (end, of) in _onto.ENDS.items():
        scores = _onto.end(table, end).rename(columns={"pair": of})
        rows.append(places.merge(scores, on=[of, *_onto.TASK]).assign(what=what))
    drawn = pd.concat(rows, ignore_index=True)
    is_share = _onto.in_percent(drawn, ["value"])
    scale = is_share.map({True: 100, False: 1})
    drawn = drawn.assign(
        unit=drawn["metric"].where(~is_share, "%"),
        score=scale * drawn["value"],
        stderr=scale * drawn["stderr"].astype(float),
    )
    ordered = [panel for _, panel in groups(drawn, keys)]
    columns = [*keys, "what", "alpha", "unit", "score", "stderr"]
    return pd.concat(ordered, ignore_index=True)[columns]


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw a panel per task, delta and base.

    What is not finite (a ruined model's) is in the numbers and has no mark.
    """
    drawn = drawn.replace([np.inf, -np.inf], np.nan)
    panels = list(groups(drawn, ["pair", "onto", *_onto.TASK]))
    met = drawn[["pair", "onto"]].drop_duplicates()
    handles = [Line2D([], [], label="base' + αΔ", **_onto.LOOK)]
    handles += _onto.level_handles(set(drawn["what"]))
    with _style.style():
        figure, grid, columns = _style.panels(len(panels), 2.1, handles)
        for place, (axes, (key, rows)) in enumerate(zip(grid, panels, strict=True)):
            pair, onto, _, task, metric, how = key
            _draw_task(axes, rows)
            _style.name_task(axes, task, metric, how)
            if len(met) > 1:
                title = axes.get_title(loc="left")
                name = _onto.title(pair, onto)
                axes.set_title(f"{name}\n{title}", loc="left", pad=13, fontweight="bold")
            axes.set_xlabel(r"$\alpha$")
            unit = rows["unit"].iloc[0]
            if place % columns == 0 or unit != "%":
                axes.set_ylabel("score (%)" if unit == "%" else unit)
    return figure


def _draw_task(axes: Axes, rows: pd.DataFrame) -> None:
    _onto.draw_levels(axes, rows, "score")
    axes.axvline(1, color=_style.MUTED, linewidth=0.6)
    curve = rows[rows["what"] == SUM]
    look = {"elinewidth": 0.8, **_onto.LOOK}
    axes.errorbar(curve["alpha"], curve["score"], curve["stderr"].fillna(0), **look)
    _onto.ring(axes, curve, "score", least=False)
    axes.margins(y=0.08)
    low, high = axes.get_ylim()
    if rows["unit"].iloc[0] == "%" and (missing := LEAST - (high - low)) > 0:
        axes.set_ylim(low - missing / 2, high + missing / 2)
