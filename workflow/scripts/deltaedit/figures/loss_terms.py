"""Approximated loss change of each part under several edits, and the totals.

Figure 3 of Tang et al. 2024, A Unified View of Delta Parameter Editing.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deltaedit import results
from deltaedit.errors import UserError
from deltaedit.figures import _style
from deltaedit.figures._rows import groups, one_pair, one_selection
from deltaedit.quadrature import RULES

MEASURES = ("loss",)
CAPTION = (
    "Loss change under DARE, under dropping without rescaling (drop only), TIES and low rank, by "
    "the share of the delta's entries or ranks that go, and under BitDelta with M blocks; means "
    "over seeds. Above, a point is one tensor's term of the Riemann sum, a box shows the quartiles "
    "and the median, whiskers reach from the 5th to the 95th percentile; below, the sum of all "
    "terms (filled) stands beside the measured change (hollow), and the step between them is the "
    "error of the approximation. Compare the methods at one share, and how far each stands from "
    "zero; the axis is linear in the shaded band and logarithmic outside it."
)
VARIANT = ["pair", "sweep", "slice", "variant"]
SETTING = ["rate", "rank", "blocks"]
POINT = ["what", "method", *SETTING, "tensor", "layer", "group"]
PART, APPROXIMATED, MEASURED = "part", "approximated total", "measured total"
SMALLEST = 1e-5  # of the largest value, below which the axis is linear in any case


@dataclass(frozen=True, kw_only=True)
class Params:
    quadrature: Literal[*RULES] | None = None  # None: the first of the loss


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the loss changes of the methods of the figure at each setting, means over seeds.

        part = sum_i w_i s_part(t_i),  approximated total = sum over all parts

    Args:
        table: slopes, one row per variant, quadrature, node and tensor.
        params: see `Params`.

    Returns:
        One row per mark: what (part, approximated total, measured total), method (see
        `results.series`), its setting as rate (drop rate or sparsity), rank or blocks, tensor,
        layer and group (of a part), value in nats per token or picture, number of seeds.

    Raises:
        UserError: none of these methods, variants of one of them that edit other tensors, a
            quadrature that the loss was not approximated by, or several pairs.
    """
    one_pair(table)
    rule = params.quadrature or table["quadrature"].iloc[0]
    rows = _set(table[(table["quadrature"] == rule) & table["method"].notna()])
    if rows.empty:
        raise UserError(
            "nothing to draw: no variant of dare with dropped_scale 0, ties, low_rank or bitdelta,"
            f" by {rule}"
        )
    for _, of_method in groups(rows, ["method"]):
        one_selection(of_method)
    rows = rows.assign(value=rows["weight"] * rows["slope"], what=PART)
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


def _set(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of what is drawn, with the series as their method, and its setting."""
    series, kept = results.series(rows), []
    for name, setting, fixed in (
        ("dare", {"rate": "drop_rate"}, {"dropped_scale": 0, "rescale": True}),
        ("drop_only", {"rate": "drop_rate"}, {"dropped_scale": 0}),
        ("ties", {"rate": "drop_rate"}, {"over": "tensor"}),
        ("low_rank", {"rate": "sparsity", "rank": "rank"}, {}),
        ("bitdelta", {"blocks": "blocks"}, {"magnitude": "mean", "scale_multiple": 1}),
    ):
        found = rows[series == name]
        for option, value in fixed.items() if len(found) else ():
            found = found[results.has(found, option, value)]
        columns = {key: found.get(setting.get(key), np.nan) for key in SETTING}
        if len(found):
            kept.append(found.drop(columns="rank", errors="ignore").assign(method=name, **columns))
    return pd.concat(kept, ignore_index=True) if kept else rows[:0]


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw the parts as boxes and points, and beside them the totals with their check.

    What is not finite (a ruined model's) is in the numbers and has no mark.
    """
    drawn = drawn.replace([np.inf, -np.inf], np.nan)
    drawn = drawn.sort_values(SETTING, kind="stable")
    drawn["setting"] = [_label(*key) for key in drawn[SETTING].itertuples(index=False)]
    names = list(drawn["setting"].unique())
    with _style.style():
        figure = Figure((_style.FULL_WIDTH, 4.6), layout="constrained")
        parts, totals = figure.subplots(2, 1, sharex=True, height_ratios=(5, 4))
        for axes in (parts, totals):
            _scale(axes, drawn["value"], names)
        for place, name in enumerate(names):
            here = drawn[drawn["setting"] == name]
            methods = _style.in_order(here["method"])
            for i, method in enumerate(methods):
                rows = here[here["method"] == method]
                values = {what: some.to_numpy() for what, some in rows.groupby("what")["value"]}
                x = place + 0.8 * ((i + 0.5) / len(methods) - 0.5)
                width = 0.8 / max(len(methods), 2)
                finite = values[PART][~np.isnan(values[PART])]
                if len(finite):
                    _draw_parts(parts, x, width, finite, method)
                ends = values[APPROXIMATED][0], values[MEASURED][0]
                _draw_total(totals, x, width, *ends, method)
        parts.set_title("terms of the sum, by tensor", loc="left", fontweight="bold")
        totals.set_title("sum over all tensors", loc="left", fontweight="bold")
        totals.set_xlabel("share of entries or ranks that go, or blocks $M$")
        for axes in (parts, totals):
            axes.set_ylabel("loss change (nats)")
        handles = _handles(_style.in_order(drawn["method"]))
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _label(rate: float, rank: float, blocks: float) -> str:
    if not np.isnan(rate):
        return f"{rate:g}"
    return f"$r$ = {rank:g}" if not np.isnan(rank) else f"$M$ = {blocks:g}"


def _draw_parts(axes: Axes, x: float, width: float, values: np.ndarray, method: str) -> None:
    """Draw a box and, spread by the golden ratio over its width, a point per value."""
    look = {key: value for key, value in _style.look(method).items() if key != "label"}
    color = look["color"]
    lines = {"color": color, "linewidth": 0.9}
    places = {"positions": [x], "widths": 0.85 * width, "manage_ticks": False, "zorder": 3}
    looks = {f"{name}props": lines for name in ("whisker", "cap")}
    looks["medianprops"] = lines | {"linewidth": 1.6}
    looks["boxprops"] = {"facecolor": color + "26", "edgecolor": color, "linewidth": 0.9}
    axes.boxplot([values], whis=(5, 95), showfliers=False, patch_artist=True, **places, **looks)
    spread = (np.arange(len(values)) * 0.618034 % 1 - 0.5) * 0.65 * width
    look |= {"alpha": 0.55, "linewidth": 0, "zorder": 2}
    axes.scatter(x + spread, values, np.clip(400 / len(values), 1.5, 5), **look)


def _draw_total(
    axes: Axes, x: float, width: float, approximated: float, measured: float, method: str
) -> None:
    """Draw the two totals of one edit side by side, filled and hollow, joined by a line."""
    look = {key: value for key, value in _style.look(method).items() if key != "label"}
    left, right = x - width / 4, x + width / 4
    axes.plot([left, right], [approximated, measured], **look | {"marker": "", "linewidth": 0.9})
    axes.plot(left, approximated, **look)
    axes.plot(right, measured, **look, markerfacecolor="white")


def _scale(axes: Axes, values: pd.Series, names: list[str]) -> None:
    """Name the settings, and make the vertical axis linear around zero and else logarithmic."""
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.grid(visible=False, axis="x")
    for between in range(1, len(names)):
        axes.axvline(between - 0.5, color="#e4e4e4", linewidth=0.5)

    sizes = values[values != 0].abs().dropna()
    floor = max(sizes.quantile(0.1), sizes.max() * SMALLEST) if len(sizes) else 1.0
    linear = 10 ** np.floor(np.log10(floor))
    _style.symlog(axes, "y", linear)


def _handles(methods: list[str]) -> list[Line2D]:
    """Return the legend: a colour and a shape per method, filled and hollow for the totals."""
    looks = [_style.look(method) for method in methods]
    total = {"color": _style.MUTED, "marker": "D"}
    looks.append(total | {"label": APPROXIMATED})
    looks.append(total | {"label": MEASURED, "markerfacecolor": "white"})
    return [Line2D([], [], linestyle="", **look) for look in looks]
