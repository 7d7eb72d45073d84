"""Real against hypothetical scores of a delta that is put onto another base.

Figure 5 of Cao et al. 2025, ParamDelta.
"""

import json
import math
import textwrap
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deltaedit import published, transfer
from deltaedit.errors import UserError
from deltaedit.figures import _onto, _style
from deltaedit.figures._rows import groups

MEASURES = ("suite", "onto")
CAPTION = (
    "Real scores of base' + delta, a delta put onto a base that it was not trained on, against the "
    "hypothetical ones f(base') + f(post) - f(base), which hold if what post-training gained on "
    "each task simply adds up; one panel per delta and base, one point per task, with one standard "
    "error as if scores were independent. On the dotted line the two are equal; the solid line "
    "goes through the origin with slope gamma, the coefficient of transfer efficiency, in a band "
    "of its 95 % bootstrap interval. R^2 of that line is given about the mean of the real scores "
    "and about zero: the latter is high for any scores far from zero. Hollow points are published "
    "ones (Cao et al. 2025, Table 1), where the pairs are theirs."
)
OURS, PUBLISHED = "ours", "published"
PANEL = [*_onto.MET, "unit"]
FIT = [field.name for field in fields(transfer.Fit)]
MOST_TASKS = 16  # that a legend can tell apart
LINE = "#1f5f8b"


@dataclass(frozen=True, kw_only=True)
class Params:
    weights: tuple[float, ...] = (1.0,)  # of the pair's own delta and of each further one


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return real and hypothetical scores of the sums of deltas with the weights of `params`.

        hypothetical = f(base') + sum_i w_i (f(post_i) - f(base_i))

    Args:
        table: scores, one row per variant and task, also of base' and of the pairs of all deltas.
        params: which sums.

    Returns:
        One row per pair, base that takes the delta (onto) and task: deltas and weights as text,
        source (ours or published), unit (%, or the metric where it is no share), real and
        hypothetical in that unit with their standard errors, and the fit of all rows of the panel
        and source, see `transfer.Fit`: NA where there are too few points, or equal ones.

    Raises:
        UserError: no such sum, no scores to compare with, or variants that edit other tensors.
    """
    sums = _onto.with_weights(_onto.sums(table), params.weights)
    if sums.empty:
        raise UserError(f"nothing to draw: no variant with the weights {list(params.weights)}")
    ends = {
        name: _onto.end(table, name).set_index(["pair", *_onto.TASK]) for name in ("base", "post")
    }
    rows = [_compare(row, ends) for row in sums.to_dict("records")]
    drawn = pd.DataFrame([row for row in rows if row is not None])
    if drawn.empty:
        bases = ", ".join(sums["onto"].unique())
        raise UserError(f"nothing to draw: no scores of both ends of the pairs, or of base {bases}")
    is_share = _onto.in_percent(drawn, ["real", "base_new"])
    numbers = ["real", "real_stderr", "hypothetical", "hypothetical_stderr"]
    drawn[numbers] = drawn[numbers].mul(is_share.map({True: 100, False: 1}), axis=0)
    drawn = drawn.assign(source=OURS, unit=drawn["metric"].where(~is_share, "%"))
    drawn = pd.concat([drawn, *_published(table, drawn)], ignore_index=True)
    drawn = drawn[["source", *_onto.MET, *_onto.TASK, "unit", *numbers]]
    fitted = [rows.assign(**_fit(rows)) for _, rows in groups(drawn, [*PANEL, "source"])]
    return pd.concat(fitted, ignore_index=True)


def _compare(row: dict[str, Any], ends: dict[str, pd.DataFrame]) -> dict[str, Any] | None:
    """Return a sum's row with its hypothetical score, or None if an end was not measured."""
    task = tuple(row[name] for name in _onto.TASK)
    pairs = [row["pair"], *json.loads(row["deltas"])]
    keys = [("base", row["onto"]), *((end, pair) for pair in pairs for end in ("post", "base"))]
    if not all((pair, *task) in ends[end].index for end, pair in keys):
        return None
    scores = [ends[end].loc[(pair, *task), ["value", "stderr"]].astype(float) for end, pair in keys]
    (new, variance), *others = ((value, stderr**2) for value, stderr in map(tuple, scores))
    expected = new
    for w, post, base in zip(
        _onto.weights_of(row["weights"]), others[::2], others[1::2], strict=True
    ):
        expected = transfer.hypothetical(expected, w * post[0], w * base[0])
        variance += w**2 * (post[1] + base[1])
    return row | {
        "real": row["value"],
        "real_stderr": row["stderr"],
        "hypothetical": expected,
        "hypothetical_stderr": math.sqrt(variance),
        "base_new": new,
    }


def _published(table: pd.DataFrame, drawn: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows of the paper's Table 1 for the panels that are of its pairs."""
    found = []
    for met, _ in groups(drawn[drawn["unit"] == "%"], _onto.MET):
        pair, onto, deltas, weights = met
        size = _onto.size_of(table, pair, "3")
        is_theirs = size and size == _onto.size_of(table, onto, "3.1")
        if not is_theirs or (deltas, _onto.weights_of(weights)) != ("[]", [1.0]):
            continue
        numbers = published.read("param_delta_table1")
        numbers = numbers[numbers["size"] == size].dropna()
        ends = (numbers[name] for name in ("llama31_base", "llama3_post", "llama3_base"))
        theirs = pd.DataFrame(
            {
                "task": numbers["benchmark"],
                "real": numbers["llama31_base_plus_delta_llama3"],
                "hypothetical": transfer.hypothetical(*ends),
            }
        )
        same = dict(zip(_onto.MET, met, strict=True))
        found.append(theirs.assign(**same, source=PUBLISHED, unit="%"))
    return found


def _fit(rows: pd.DataFrame) -> dict[str, Any]:
    try:
        return asdict(transfer.fit(rows["real"], rows["hypothetical"]))
    except ValueError:  # too few points, or all alike
        return {**dict.fromkeys(FIT, math.nan), "n": len(rows)}


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw a panel per delta and base, with equal axes.

    What is not finite (a ruined model's) is in the numbers and has no mark.
    """
    drawn = drawn.replace([np.inf, -np.inf], np.nan).dropna(subset=["real", "hypothetical"])
    panels = list(groups(drawn, PANEL))
    ours = drawn[drawn["source"] == OURS]
    looks = _style.looks_of_tasks(ours)
    if len(looks) > MOST_TASKS:
        looks = {task: {"color": LINE, "marker": "o", **_style.EDGE} for task in looks}
    handles = [Line2D([], [], linestyle="", **look) for look in looks.values() if "label" in look]
    handles += [
        Line2D([], [], color=_style.MUTED, linestyle=":", label="equal"),
        Line2D([], [], color=LINE, label="γ hypothetical"),
    ]
    hollow = {"color": _style.MUTED, "marker": "o", "markerfacecolor": "none", "linestyle": ""}
    if (drawn["source"] == PUBLISHED).any():
        handles.append(Line2D([], [], label="published", **hollow))
    with _style.style():
        figure, grid, columns = _style.panels(len(panels), 3.4, handles, most=2)
        for place, (axes, (key, rows)) in enumerate(zip(grid, panels, strict=True)):
            theirs = rows[rows["source"] == PUBLISHED]
            axes.plot(theirs["hypothetical"], theirs["real"], **hollow, markersize=5, zorder=2)
            for task, points in groups(rows[rows["source"] == OURS], ["task"]):
                errors = points[["real_stderr", "hypothetical_stderr"]].fillna(0).astype(float)
                axes.errorbar(
                    points["hypothetical"],
                    points["real"],
                    *errors.to_numpy().T,
                    **looks[task[0]] | {"linestyle": "", "elinewidth": 0.6, "markersize": 4.5},
                )
            _draw_lines(axes, rows)
            _describe(axes, rows)
            pair, onto, deltas, weights, unit = key
            names = (f"Δ {name}" for name in [pair, *json.loads(deltas)])
            title = f"{_onto.words(_onto.weights_of(weights), names)} on {onto}"
            title = textwrap.fill(title.removeprefix("+ "), 40)
            axes.set_title(title, loc="left", fontweight="bold")
            axes.set_xlabel(f"hypothetical score ({unit})")
            if place % columns == 0 or unit != panels[place - 1][0][-1]:
                axes.set_ylabel(f"real score ({unit})")
    return figure


def _draw_lines(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw equality, and gamma with its interval, on equal axes."""
    values = rows[["real", "hypothetical"]].to_numpy()
    low, high = min(values.min(), 0), max(values.max(), 0)
    room = 0.06 * (high - low or 1)
    limits = np.array([low - room, high + room])
    axes.plot(limits, limits, color=_style.MUTED, linestyle=":", linewidth=0.9, zorder=1)
    fit = _fit_of(rows)
    if pd.notna(fit["gamma"]):
        x = np.array([limits[0], 0, limits[1]])
        axes.plot(x, fit["gamma"] * x, color=LINE, zorder=1.5)
        band = {"color": LINE, "alpha": 0.13, "linewidth": 0, "zorder": 0.9}
        axes.fill_between(x, fit["gamma_low"] * x, fit["gamma_high"] * x, **band)
    axes.set(xlim=limits, ylim=limits)


def _fit_of(rows: pd.DataFrame) -> pd.Series:
    """Return the fit of a panel's own points, or the published ones' if it has no others."""
    return rows.sort_values("source").iloc[0]


def _describe(axes: Axes, rows: pd.DataFrame) -> None:
    """Write the fits into the corners that points near the diagonal leave free."""
    places = {OURS: (0.04, 0.97, "left", "top"), PUBLISHED: (0.97, 0.03, "right", "bottom")}
    for source, points in rows.groupby("source"):
        x, y, across, along = places[source]
        fit = points.iloc[0]
        lines = [f"{fit['n']:.0f} points"]
        if pd.notna(fit["gamma"]):
            interval = f"[{fit['gamma_low']:.2f}, {fit['gamma_high']:.2f}]"
            lines = [
                rf"$\gamma$ = {fit['gamma']:.2f} {interval}",
                f"$R^2$ = {fit['r2']:.2f} about the mean",
                f"$R^2$ = {fit['r2_uncentred']:.2f} about zero",
                *lines,
            ]
        text = "\n".join(["published:"] * (source == PUBLISHED) + lines).replace("-", "−")
        color = _style.MUTED if source == PUBLISHED else "black"
        where = {"transform": axes.transAxes, "ha": across, "va": along, "multialignment": across}
        axes.text(x, y, text, **where, fontsize=7, color=color)
