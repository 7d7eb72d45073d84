"""Loss change and scores along ExPO's alpha, side by side.

Figure 6 of Tang et al. 2024, A Unified View of Delta Parameter Editing, with the scores beside it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deltaedit import results
from deltaedit.errors import UserError
from deltaedit.figures import _style
from deltaedit.figures._rows import groups, one_pair, one_selection

MEASURES = ("loss", "suite")
CAPTION = (
    "Along alpha, by which the delta is stretched (0 is the post-trained model, -1 its base): left "
    "the loss change, approximated (filled) and measured (hollow), then each task's score, with "
    "one standard error. Dotted lines mark the lowest measured loss and the best score: compare "
    "where they stand, and on which side of zero."
)
APPROXIMATED, MEASURED = "approximated loss change", "measured loss change"


@dataclass(frozen=True, kw_only=True)
class Params:
    """No options."""


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the loss changes and scores of expo's variants, and of post at alpha = 0.

    Args:
        table: slopes and scores; the rows of each lack the other's columns.
        params: none.

    Returns:
        One row per mark: what (approximated or measured loss change, or a task), metric (with its
        filter, if it has one), alpha, value (nats, by the first quadrature; or the score's own
        unit) and stderr.

    Raises:
        UserError: no variant of expo, several pairs, or variants that edit other tensors.
    """
    one_pair(table)
    expo = table[table["method"].isin(["expo"])]
    if expo.empty:
        raise UserError("nothing to draw: no variant of expo")
    one_selection(expo)
    post = table[(table["sweep"] == "ends") & (table["variant"] == "post")].assign(alpha=0.0)
    rows = pd.concat([expo, post], ignore_index=True)
    slopes = rows[rows["node"].notna()]
    slopes = slopes[slopes["quadrature"] == slopes["quadrature"].iloc[0]]
    slopes = slopes.assign(value=slopes["weight"] * slopes["slope"])
    sums = groups(slopes, ["alpha", "sweep", "approximate_stderr"])["value"].sum(skipna=False)
    approximated = sums.reset_index().rename(columns={"approximate_stderr": "stderr"})
    measured = slopes.drop_duplicates(["alpha", "sweep"])
    measured = measured.assign(
        value=measured["measured_change"], stderr=measured["measured_stderr"]
    )
    scores = rows[rows["task"].notna()]
    marks = pd.concat(
        [
            approximated.assign(what=APPROXIMATED, metric="loss"),
            measured.assign(what=MEASURED, metric="loss"),
            scores.assign(what=scores["task"], metric=_metrics(scores)),
        ]
    )
    # Two sweeps may share a variant: it counts once.
    marks = marks.drop_duplicates(["what", "metric", "alpha"])
    order = dict.fromkeys(marks["what"])
    marks = marks.sort_values(
        ["what", "alpha"], key=lambda c: c.map(list(order).index) if c.name == "what" else c
    )
    return marks[["what", "metric", "alpha", "value", "stderr"]].reset_index(drop=True)


def _metrics(scores: pd.DataFrame) -> list[str]:
    both = zip(scores["metric"], scores["filter"], strict=True)
    return [results.scored_by(*names) for names in both]


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw a panel for the loss change and one for each task.

    What is not finite (a ruined model's) is in the numbers and has no mark.
    """
    drawn = drawn.replace([np.inf, -np.inf], np.nan)
    tasks = [what for what in dict.fromkeys(drawn["what"]) if what not in (APPROXIMATED, MEASURED)]
    panels = [[APPROXIMATED, MEASURED], *([task] for task in tasks)]
    with _style.style():
        figure, grid, _ = _style.panels(len(panels), 2.2)
        for axes, names in zip(grid, panels, strict=True):
            marks = {what: drawn[drawn["what"] == what] for what in names}
            if len(names) == 2:
                _draw_loss(axes, marks)
            else:
                _draw_scores(axes, names[0], marks[names[0]])
            axes.axvline(0, color=_style.MUTED, linewidth=0.6)
            axes.set_xlabel(r"$\alpha$")
    return figure


def _draw_loss(axes: Axes, marks: dict[str, pd.DataFrame]) -> None:
    look = {"color": _style.METHOD_COLORS["expo"], "marker": _style.METHOD_MARKERS["expo"]}
    for what, more in ((APPROXIMATED, {}), (MEASURED, {"markerfacecolor": "white"})):
        rows = marks[what]
        x, y, spread = rows["alpha"], rows["value"], rows["stderr"].fillna(0)
        label = what.removesuffix(" loss change")
        axes.errorbar(x, y, spread, label=label, elinewidth=0.8, **look, **more)
    axes.axhline(0, color=_style.MUTED, linewidth=0.6)
    measured = marks[MEASURED].dropna(subset=["value"])
    if len(measured):
        _mark(axes, measured.loc[measured["value"].idxmin(), "alpha"])
    axes.set_title("loss change", loc="left", fontweight="bold")
    axes.set_ylabel("nats")
    axes.legend()


def _draw_scores(axes: Axes, task: str, rows: pd.DataFrame) -> None:
    scale = 100 if rows["value"].between(0, 1).all() else 1
    x, y, spread = rows["alpha"], scale * rows["value"], scale * rows["stderr"].fillna(0)
    axes.errorbar(x, y, spread, elinewidth=0.8, color="#2b2b2b", marker="s")
    _mark(axes, rows.loc[rows["value"].idxmax(), "alpha"])
    _style.name_panel(axes, task)
    metric = rows["metric"].iloc[0]
    axes.set_ylabel(f"{metric} (%)" if scale == 100 else metric)


def _mark(axes: Axes, alpha: float) -> None:
    axes.axvline(alpha, color=_style.MUTED, linewidth=0.9, linestyle=":")
