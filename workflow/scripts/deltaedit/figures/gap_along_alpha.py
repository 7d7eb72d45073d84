"""What interpolation and extrapolation gain or lose on each task.

Figures 7 and 13 of Tang et al. 2024, A Unified View of Delta Parameter Editing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deltaedit.errors import UserError
from deltaedit.figures import _style
from deltaedit.figures._rows import groups, of, one_selection, over_seeds

MEASURES = ("suite",)
CAPTION = (
    "Performance gap to the post-trained model along alpha, by which the delta is stretched: left "
    "of zero interpolation towards the base (shaded), right of it extrapolation (ExPO). One panel "
    "per pair, one line per task, with one standard error of the difference; rings mark each "
    "task's best alpha. See on which side of zero the gain lies, and whether it is the same for "
    "all tasks and pairs."
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """No options."""


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the score of expo's variants minus that of post, and zero at alpha = 0.

    Args:
        table: scores, one row per variant and task.
        params: none.

    Returns:
        One row per pair, task and alpha: metric, filter, unit (points, where the scores are
        accuracies, else the metric), gap in that unit and its stderr, as if the scores were
        independent.

    Raises:
        UserError: no variant of expo, or variants that edit other tensors.
    """
    expo = of(table, "expo")
    expo = expo[expo["alpha"] != 0]  # that is post
    one_selection(expo)
    post = table[(table["sweep"] == "ends") & (table["variant"] == "post")].assign(alpha=0.0)
    if missing := set(expo["pair"]) - set(post["pair"]):
        raise UserError(f"nothing to compare with: no post-trained model of {min(missing)!r}")
    drawn = over_seeds(pd.concat([post, expo]), ["pair", "task", "metric", "filter", "alpha"])
    own = drawn[drawn["alpha"] == 0].set_index(["pair", "task"])[["value", "stderr"]]
    drawn = drawn.join(own.add_suffix("_post"), on=["pair", "task"])
    is_share = drawn["value"].between(0, 1).groupby([drawn["pair"], drawn["task"]]).transform("all")
    scale = np.where(is_share, 100, 1)
    gap = scale * (drawn["value"] - drawn["value_post"])
    stderr = scale * np.hypot(drawn["stderr"], drawn["stderr_post"])
    drawn = drawn.assign(
        unit=drawn["metric"].where(~is_share, "points"),
        gap=gap,
        stderr=stderr.where(drawn["alpha"] != 0, 0.0),
    )
    drawn = drawn[["pair", "task", "metric", "filter", "unit", "alpha", "gap", "stderr"]]
    order = [list(drawn[name].unique()).index for name in ("pair", "task")]
    key = [drawn["pair"].map(order[0]), drawn["task"].map(order[1]), drawn["alpha"]]
    return drawn.iloc[np.lexsort(key[::-1])].reset_index(drop=True)


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw a panel per pair, in it a line per task."""
    panels = list(groups(drawn, ["pair", "unit"]))
    looks = _style.looks_of_tasks(drawn)
    handles = [Line2D([], [], **look) for look in looks.values()]
    with _style.style():
        figure, grid, _ = _style.panels(len(panels), 2.4, handles)
        for axes, ((pair, unit), panel) in zip(grid, panels, strict=True):
            for task, rows in groups(panel, ["task"]):
                _draw_task(axes, rows, looks[task[0]])
            axes.axhline(0, color=_style.MUTED, linewidth=0.9)
            axes.axvline(0, color=_style.MUTED, linewidth=0.6)
            left, right = axes.get_xlim()
            axes.axvspan(min(left, 0), 0, color="#f1f1f1", zorder=0, linewidth=0)
            axes.set_xlim(left, right)
            _style.name_panel(axes, pair)
            axes.set_xlabel(r"$\alpha$")
            axes.set_ylabel("gap (points)" if unit == "points" else f"gap of {unit}")
    return figure


def _draw_task(axes: Axes, rows: pd.DataFrame, look: dict[str, Any]) -> None:
    """Draw the line of a task, with a ring at its best alpha; zero, if none is better."""
    axes.errorbar(rows["alpha"], rows["gap"], rows["stderr"].fillna(0), elinewidth=0.7, **look)
    better = rows[rows["gap"] > 0]
    best = better.loc[better["gap"].idxmax()] if len(better) else {"alpha": 0, "gap": 0}
    ring = {"markersize": 8, "markerfacecolor": "none", "markeredgewidth": 0.9, "marker": "o"}
    axes.plot(best["alpha"], best["gap"], color=look["color"], **ring)
