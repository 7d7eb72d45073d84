"""Approximated against measured loss change, every variant a point.

Not in the papers: the check of equation 1 of Tang et al. 2024, A Unified View of Delta Parameter
Editing, on all edits at once.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deltaedit import results
from deltaedit.errors import UserError
from deltaedit.figures import _style
from deltaedit.figures._rows import groups

MEASURES = ("loss",)
CAPTION = (
    "Approximated against measured loss change of every variant, one panel per quadrature, "
    "coloured by edit method, with one standard error over batches. On the line the two are equal: "
    "below it the sum reports too small a change, above it too large a one. The rank correlation "
    "(Spearman's rho) tells whether the sum orders edits rightly, the median gap by how much it "
    "misses. Axes are linear in the shaded band and logarithmic outside it."
)
VARIANT = ["quadrature", "pair", "loss", "method", "seed", "tensors", "options"]
FLOOR = 1e-3  # nats: the band in which axes are linear; a gap is relative to no smaller change


@dataclass(frozen=True, kw_only=True)
class Params:
    """No options."""


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return both loss changes of every variant and quadrature.

    Args:
        table: slopes, one row per variant, quadrature, node and tensor.
        params: none.

    Returns:
        One row per quadrature, pair, loss and variant: method (see `results.series`), seed,
        tensors, options (as text), measured and approximated (nats) and their standard errors.

    Raises:
        UserError: no edited variant.
    """
    changes = results.loss_changes(table)
    changes = changes[changes["method"].notna()]
    if changes.empty:
        raise UserError("nothing to draw: no edited variant")
    drawn = changes.assign(
        options=results.options(changes),
        method=results.series(changes),
        measured=changes["measured_change"],
        approximated=changes["approximate_change"],
        approximated_stderr=changes["approximate_stderr"],
    )
    drawn = drawn.drop_duplicates(VARIANT)  # two sweeps may share a variant
    numbers = ["measured", "measured_stderr", "approximated", "approximated_stderr"]
    drawn = drawn[[*VARIANT, *numbers]]
    rules = drawn["quadrature"].map(list(drawn["quadrature"].unique()).index)
    return drawn.iloc[np.argsort(rules, kind="stable")].reset_index(drop=True)


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw a panel per quadrature.

    What is not finite (a ruined model's) is in the numbers and has no mark.
    """
    drawn = drawn.replace([np.inf, -np.inf], np.nan)
    panels = list(groups(drawn, ["quadrature"]))
    drawn = drawn.dropna(subset=["measured", "approximated"])
    with _style.style():
        looks = {name: _style.look(name) for name in _style.in_order(drawn["method"])}
        handles = [Line2D([], [], linestyle="", **look) for look in looks.values()]
        three = len(panels) not in (1, 2, 4)  # in a row
        figure, grid, columns = _style.panels(len(panels), 2.5 if three else 3.5, handles)
        for place, (axes, ((rule,), rows)) in enumerate(zip(grid, panels, strict=True)):
            rows = rows.loc[rows.index.isin(drawn.index)]
            for name, look in looks.items():
                points = rows[rows["method"] == name]
                errors = points[["approximated_stderr", "measured_stderr"]].fillna(0).astype(float)
                axes.errorbar(
                    points["measured"],
                    points["approximated"],
                    *errors.to_numpy().T,
                    **look | _style.EDGE | {"linestyle": "", "elinewidth": 0.6},
                )
            _scale(axes, drawn[["measured", "approximated"]].to_numpy())
            axes.set_title(rule.replace("_", " "), loc="left", fontweight="bold")
            axes.text(0.04, 0.96, _summary(rows), transform=axes.transAxes, va="top", fontsize=7)
            axes.set_xlabel("measured loss change (nats)")
            if place % columns == 0:
                axes.set_ylabel("approximated loss change (nats)")
    return figure


def _summary(rows: pd.DataFrame) -> str:
    """Say how well the sum orders the variants and how far it is from the measured changes."""
    gap = (rows["approximated"] - rows["measured"]).abs()
    gap = 100 * (gap / rows["measured"].abs().clip(lower=FLOOR)).median()
    lines = [f"{len(rows)} variant" + "s" * (len(rows) != 1)]
    if len(rows):
        lines.append(f"median gap {float(f'{gap:.2g}'):g} %")
    if len(rows) > 2 and rows[["measured", "approximated"]].nunique().min() > 1:
        rho = rows["measured"].corr(rows["approximated"], method="spearman")
        lines.insert(1, rf"Spearman's $\rho$ = {rho:.2f}".replace("-", "−"))
    return "\n".join(lines)


def _scale(axes: Axes, values: np.ndarray) -> None:
    """Make both axes alike, linear around zero and else logarithmic, with the line of equality."""
    least, most = values.min(initial=-FLOOR), values.max(initial=FLOOR)
    for name in ("x", "y"):
        _style.symlog(axes, name, FLOOR)
        limits = (least * 1.6, most * 1.6)
        axes.set(**{f"{name}lim": limits})
    line = np.concatenate([np.linspace(-FLOOR, FLOOR, 9), [least * 1.6, most * 1.6]])
    axes.plot(np.sort(line), np.sort(line), color=_style.MUTED, linewidth=0.9, zorder=1)
    axes.set_box_aspect(1)
