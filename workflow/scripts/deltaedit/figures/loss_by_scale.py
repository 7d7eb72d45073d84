"""Loss along the scale of a delta that is put onto another base, measured and approximated.

Not in the papers: Figures 6, 9 and 10 of Cao et al. 2025, ParamDelta, with the loss of Tang et al.
2024, A Unified View of Delta Parameter Editing, in place of scores.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deltaedit import results
from deltaedit.figures import _onto, _style
from deltaedit.figures._rows import ends, groups, one_selection

MEASURES = ("loss", "onto")
CAPTION = (
    "Loss of base' + alpha delta, where the delta comes from another base, along alpha: measured, "
    "with one standard error over batches, and approximated by each quadrature (hollow), the loss "
    "of post with the sum of slopes along the straight path from post to base' + alpha delta. A "
    "ring marks the least measured loss, the vertical line alpha = 1, where the delta is added as "
    "it is. Horizontal lines are base', the post-trained model that the delta comes from (post), "
    "and, where there is one, the model post-trained on base' itself (post'). See whether the loss "
    "is least near one, and whether the sum still follows it far from there. On the logarithmic "
    "axis an approximation below zero has no mark."
)
MEASURED = "measured"
LOOK = {**_onto.LOOK, "label": MEASURED, "markersize": 3}
# Quadratures in turn: colours that no level has, marks that show what they lie on.
COLORS = ("#cb4679", "#5b2d90", "#8a5a2b", "#4aa8e0", "#2b2b2b", "#d9480f")
MARKERS = "sD^vhP"


@dataclass(frozen=True, kw_only=True)
class Params:
    """No options."""


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the losses of base' + alpha D and, as levels, of base', post and post'.

    Args:
        table: slopes, one row per variant, quadrature, node and tensor, also of the ends of the
            pairs of base'.
        params: none.

    Returns:
        One row per pair, base that takes the delta (onto), loss, what (measured, a quadrature,
        base', post or post') and alpha (NA for levels): value (nats) and stderr (NA for levels).

    Raises:
        UserError: no such variant with one delta, or variants that edit other tensors.
    """
    changes = results.loss_changes(table)
    sums = _onto.alone(_onto.carried(changes)).sort_values("alpha", kind="stable")
    one_selection(sums)
    keys = ["pair", "onto", "loss"]
    sums = sums.drop_duplicates([*keys, "quadrature", "alpha"])  # two sweeps may share a variant
    shared = sums.drop_duplicates([*keys, "alpha"])  # by several quadratures
    rows = [
        shared.assign(what=MEASURED, value=shared["loss_edited"], stderr=shared["measured_stderr"]),
        sums.assign(
            what=sums["quadrature"],
            value=sums["loss_post"] + sums["approximate_change"],
            stderr=sums["approximate_stderr"],
        ),
    ]
    places = sums[keys].drop_duplicates()
    known = ends(changes).drop_duplicates(["pair", "variant", "loss"])
    for what, (end, of) in _onto.ENDS.items():
        level = known[known["variant"] == end][["pair", "loss", "loss_edited"]]
        level = level.rename(columns={"pair": of, "loss_edited": "value"})
        rows.append(places.merge(level, on=[of, "loss"]).assign(what=what))
    drawn = pd.concat(rows, ignore_index=True)
    ordered = [panel for _, panel in groups(drawn, keys)]
    columns = [*keys, "what", "alpha", "value", "stderr"]
    return pd.concat(ordered, ignore_index=True)[columns]


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw a panel per delta, base and loss.

    What is not finite (a ruined model's) is in the numbers and has no mark.
    """
    drawn = drawn.replace([np.inf, -np.inf], np.nan)
    panels = list(groups(drawn, ["pair", "onto", "loss"]))
    found = list(dict.fromkeys(drawn["what"]))
    rules = _looks([what for what in found if what != MEASURED and what not in _onto.LEVELS])
    handles = [Line2D([], [], **look) for look in (LOOK, *rules.values())]
    handles += _onto.level_handles(found)
    with _style.style():
        figure, grid, columns = _style.panels(len(panels), 2.3, handles)
        for place, (axes, (key, rows)) in enumerate(zip(grid, panels, strict=True)):
            pair, onto, loss = key
            _draw_loss(axes, rows, rules)
            axes.set_title(_onto.title(pair, onto), loc="left", pad=13, fontweight="bold")
            _style.note_above(axes, loss)
            axes.set_xlabel(r"$\alpha$")
            if place % columns == 0:
                axes.set_ylabel("loss (nats)")
    return figure


def _looks(rules: list[str]) -> dict[str, dict[str, Any]]:
    hollow = {"linestyle": "", "markersize": 5.5, "markerfacecolor": "none"}
    return {
        rule: {"color": color, "marker": marker, **hollow, "label": rule.replace("_", "-")}
        for rule, color, marker in zip(rules, COLORS, MARKERS, strict=False)
    }


def _draw_loss(axes: Axes, rows: pd.DataFrame, rules: dict[str, dict[str, Any]]) -> None:
    axes.set_yscale("log", nonpositive="mask")
    _onto.draw_levels(axes, rows, "value")
    axes.axvline(1, color=_style.MUTED, linewidth=0.6)
    for what, look in {MEASURED: LOOK, **rules}.items():
        curve = rows[rows["what"] == what]
        axes.errorbar(
            curve["alpha"], curve["value"], curve["stderr"].fillna(0), elinewidth=0.8, **look
        )
    _onto.ring(axes, rows[rows["what"] == MEASURED], "value", least=True)
