"""Approximated loss change of each part under DARE and under dropping only, and the totals.

Figure 3, left, of Tang et al. 2024, A Unified View of Delta Parameter Editing.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deltaedit.errors import UserError
from deltaedit.figures import _style
from deltaedit.figures._rows import groups, one_pair, one_selection
from deltaedit.quadrature import RULES

MEASURES = ("loss",)
CAPTION = (
    "Loss change by drop rate p under DARE and under dropping without rescaling (drop only), means "
    "over seeds. Left, a point is one tensor's term of the Riemann sum, a box shows the quartiles "
    "and the median, whiskers reach from the 5th to the 95th percentile; right, the sum of all "
    "terms (filled) stands beside the measured change (hollow), and the step between them is the "
    "error of the approximation. Compare the two methods at one p, and how far each stands from "
    "zero; the axis is linear in the shaded band and logarithmic outside it."
)
VARIANT = ["pair", "sweep", "slice", "variant"]
POINT = ["what", "method", "drop_rate", "tensor", "layer", "group"]
METHODS = ["dare", "drop_only"]
PART, APPROXIMATED, MEASURED = "part", "approximated total", "measured total"
SMALLEST = 1e-5  # of the largest value, below which the axis is linear in any case


@dataclass(frozen=True, kw_only=True)
class Params:
    quadrature: Literal[*RULES] | None = None  # None: the first of the loss


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the loss changes of dare (k = 0) and drop_only at each drop rate, means over seeds.

        part = sum_i w_i s_part(t_i),  approximated total = sum over all parts

    Args:
        table: slopes, one row per variant, quadrature, node and tensor.
        params: see `Params`.

    Returns:
        One row per mark: what (part, approximated total, measured total), method, drop_rate,
        tensor, layer and group (of a part), value in nats per token or picture, number of seeds.

    Raises:
        UserError: no variant of dare with dropped_scale 0, variants that edit other tensors, a
            quadrature that the loss was not approximated by, or several pairs.
    """
    one_pair(table)
    rule = params.quadrature or table["quadrature"].iloc[0]
    rows = table[(table["quadrature"] == rule) & table["method"].isin(["dare"])]
    if len(rows):  # else there may be no columns for its options
        rows = rows[(rows["dropped_scale"] == 0) & rows["rescale"].isin([True, False])]
    if rows.empty:
        raise UserError(f"nothing to draw: no variant of dare with dropped_scale 0, by {rule}")
    one_selection(rows)
    method = np.where(rows["rescale"].isin([True]), *METHODS)
    rows = rows.assign(method=method, value=rows["weight"] * rows["slope"], what=PART)
    rows = rows[[*VARIANT, "seed", *POINT, "value", "measured_change"]]
    totals = rows.drop(columns=["tensor", "layer", "group"]).assign(what=APPROXIMATED)
    measured = totals.drop_duplicates(VARIANT)
    measured = measured.assign(what=MEASURED, value=measured["measured_change"])
    rows = pd.concat([rows, totals, measured], ignore_index=True)
    # Two sweeps may share a variant: it counts once.
    # A slope that is not a number must not vanish from a sum or a mean.
    rows = groups(rows, [*POINT, "seed", *VARIANT])["value"].sum(skipna=False).reset_index()
    rows = groups(rows, [*POINT, "seed"])["value"].mean(skipna=False).reset_index()
    values = groups(rows, POINT)["value"]
    return values.mean(skipna=False).to_frame().assign(seeds=values.size()).reset_index()


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw the parts as boxes and points, and beside them the totals with their check.

    What is not finite (a ruined model's) is in the numbers and has no mark.
    """
    drawn = drawn.replace([np.inf, -np.inf], np.nan)
    drop_rates = sorted(drawn["drop_rate"].unique())
    with _style.style():
        figure = Figure((_style.FULL_WIDTH, 3.2), layout="constrained")
        parts, totals = figure.subplots(1, 2, sharey=True, width_ratios=(4, 3))
        for axes in (parts, totals):
            _scale(axes, drawn["value"], drop_rates)
        methods = [method for method in METHODS if (drawn["method"] == method).any()]
        for i, method in enumerate(methods):
            shift = 0.44 * (i - (len(methods) - 1) / 2)
            for place, drop_rate in enumerate(drop_rates):
                here = drawn[(drawn["method"] == method) & (drawn["drop_rate"] == drop_rate)]
                values = {what: group.to_numpy() for what, group in here.groupby("what")["value"]}
                if values:
                    finite = values[PART][~np.isnan(values[PART])]
                    if len(finite):
                        _draw_parts(parts, place + shift, finite, method)
                    ends = values[APPROXIMATED][0], values[MEASURED][0]
                    _draw_total(totals, place + shift, *ends, method)
        parts.set_title("terms of the sum, by tensor", loc="left", fontweight="bold")
        totals.set_title("sum over all tensors", loc="left", fontweight="bold")
        parts.set_ylabel("loss change (nats)")
        figure.legend(handles=_handles(methods), loc="outside lower center", ncols=4)
    return figure


def _look(method: str) -> dict[str, Any]:
    return {"color": _style.METHOD_COLORS[method], "marker": _style.METHOD_MARKERS[method]}


def _draw_parts(axes: Axes, x: float, values: np.ndarray, method: str) -> None:
    """Draw a box and, spread by the golden ratio over its width, a point per value."""
    look = _look(method)
    color = look["color"]
    lines = {"color": color, "linewidth": 0.9}
    places = {"positions": [x], "widths": 0.34, "manage_ticks": False, "zorder": 3}
    looks = {f"{name}props": lines for name in ("whisker", "cap")}
    looks["medianprops"] = lines | {"linewidth": 1.6}
    looks["boxprops"] = {"facecolor": color + "26", "edgecolor": color, "linewidth": 0.9}
    axes.boxplot([values], whis=(5, 95), showfliers=False, patch_artist=True, **places, **looks)
    spread = (np.arange(len(values)) * 0.618034 % 1 - 0.5) * 0.26
    look |= {"alpha": 0.55, "linewidth": 0, "zorder": 2}
    axes.scatter(x + spread, values, np.clip(400 / len(values), 1.5, 5), **look)


def _draw_total(axes: Axes, x: float, approximated: float, measured: float, method: str) -> None:
    """Draw the two totals of one edit side by side, filled and hollow, joined by a line."""
    look = _look(method)
    left, right = x - 0.1, x + 0.1
    axes.plot([left, right], [approximated, measured], **look | {"marker": "", "linewidth": 0.9})
    axes.plot(left, approximated, **look)
    axes.plot(right, measured, **look, markerfacecolor="white")


def _scale(axes: Axes, values: pd.Series, drop_rates: list[float]) -> None:
    """Name the drop rates, and make the vertical axis linear around zero and else logarithmic."""
    axes.set_xticks(range(len(drop_rates)), [f"{p:g}" for p in drop_rates])
    axes.set_xlim(-0.6, len(drop_rates) - 0.4)
    axes.set_xlabel("drop rate $p$")
    axes.grid(visible=False, axis="x")

    sizes = values[values != 0].abs().dropna()
    floor = max(sizes.quantile(0.1), sizes.max() * SMALLEST) if len(sizes) else 1.0
    linear = 10 ** np.floor(np.log10(floor))
    axes.set_yscale("symlog", linthresh=linear, linscale=0.7)
    axes.axhspan(-linear, linear, color="#f4f4f4", zorder=0)
    axes.axhline(0, color=_style.MUTED, linewidth=0.9)


def _handles(methods: list[str]) -> list[Line2D]:
    """Return the legend: a colour and a shape per method, filled and hollow for the totals."""
    looks = [_look(method) | {"label": _style.METHOD_LABELS[method]} for method in methods]
    total = {"color": _style.MUTED, "marker": "D"}
    looks.append(total | {"label": APPROXIMATED})
    looks.append(total | {"label": MEASURED, "markerfacecolor": "white"})
    return [Line2D([], [], linestyle="", **look) for look in looks]
