"""What an edit does to the score against what it does to the loss, every variant a point.

Not in the papers: section 3.2 of Tang et al. 2024, A Unified View of Delta Parameter Editing, takes
the loss change as what tells improved, competitive and decreased performance apart.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deltaedit import results, verdicts
from deltaedit.errors import UserError
from deltaedit.figures import _style
from deltaedit.figures._rows import groups

MEASURES = ("loss", "suite")
CAPTION = (
    "Change of the score, the mean over tasks, against the measured loss change of every variant, "
    "one panel per pair, coloured by edit method, with one standard error each. If the loss told "
    "all, points would fall from the upper left (improved) to the lower right (decreased) and none "
    "would stand in the other two quarters; Spearman's rho is that of the ranks. The axis of the "
    "loss change is linear in the shaded band and logarithmic outside it."
)
VARIANT = ["pair", "loss", "method", "seed", "tensors", "options"]
FLOOR = 1e-3  # nats: the band in which the axis is linear


@dataclass(frozen=True, kw_only=True)
class Params:
    """No options."""


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the change of loss and score of every variant that has both.

    Args:
        table: slopes and scores; the rows of each lack the other's columns.
        params: none.

    Returns:
        One row per pair, loss and variant: method (see `results.series`), seed, tensors, options,
        measured (nats), measured_stderr, score_change, score_change_stderr, unit and score_of, see
        `verdicts.of_variants`.

    Raises:
        UserError: no edited variant with a loss and a score.
    """
    scores, slopes = table[table["task"].notna()], table[table["node"].notna()]
    rows = verdicts.of_variants(scores, results.loss_changes(slopes))
    rows = rows[rows["verdict"].notna() & rows["loss"].notna()]
    if rows.empty:
        raise UserError("nothing to draw: no edited variant with both a loss and a score")
    rows = rows.rename(columns={"measured_change": "measured"}).drop_duplicates(VARIANT)
    numbers = [
        "measured",
        "measured_stderr",
        "score_change",
        "score_change_stderr",
        "unit",
        "score_of",
    ]
    return rows[[*VARIANT, *numbers]].reset_index(drop=True)


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw a panel per pair.

    What is not finite (a ruined model's) is in the numbers and has no mark.
    """
    drawn = drawn.replace([np.inf, -np.inf], np.nan)
    panels = list(groups(drawn, ["pair", "loss", "unit"]))
    several = drawn.groupby("pair")["loss"].nunique() > 1
    with _style.style():
        looks = {name: _style.look(name) for name in _style.in_order(drawn["method"])}
        handles = [Line2D([], [], linestyle="", **look) for look in looks.values()]
        figure, grid, _ = _style.panels(len(panels), 2.4, handles)
        for axes, ((pair, loss, unit), rows) in zip(grid, panels, strict=True):
            _draw_panel(axes, rows.dropna(subset=["measured", "score_change"]), looks)
            title = f"{pair}, {loss}" if several[pair] else pair
            _style.name_panel(axes, title)
            axes.set_xlabel("measured loss change (nats)")
            points = unit == verdicts.POINTS
            axes.set_ylabel("change of the score (points)" if points else f"change of {unit}")
        _style.add_note(figure, *verdicts.what_scores_are(drawn))
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, looks: dict) -> None:
    for name, look in looks.items():
        points = rows[rows["method"] == name]
        errors = points[["score_change_stderr", "measured_stderr"]].fillna(0).astype(float)
        look = look | _style.EDGE | {"linestyle": "", "elinewidth": 0.6}
        axes.errorbar(points["measured"], points["score_change"], *errors.to_numpy().T, **look)
    _style.symlog(axes, "x", FLOOR)
    measured = rows["measured"].to_numpy()
    axes.set_xlim(1.6 * measured.min(initial=-FLOOR), 1.6 * measured.max(initial=FLOOR))
    axes.axhline(0, color=_style.MUTED, linewidth=0.6, zorder=1)
    if len(rows) > 2 and rows[["measured", "score_change"]].nunique().min() > 1:
        rho = rows["measured"].corr(rows["score_change"], method="spearman")
        text = rf"$\rho$ = {rho:.2f}".replace("-", "−")
        axes.text(0.04, 0.05, text, transform=axes.transAxes, fontsize=7)
