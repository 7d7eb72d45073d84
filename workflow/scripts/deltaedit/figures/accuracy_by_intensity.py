"""Loss change and score of DARE and its extension against the editing intensity.

Not in Tang et al. 2024: the editing intensity (k - 1)^2 p / (1 - p) is of its successor (ACL 2026
Findings 1833), which has it predict where an edit breaks the model.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from deltaedit import results, verdicts
from deltaedit.errors import UserError
from deltaedit.figures import _style
from deltaedit.figures._rows import one_pair

MEASURES = ("loss", "suite", "curvature")
CAPTION = (
    "Variants of DARE and its extension by their editing intensity, (k - 1) squared times p / (1 - "
    "p): left the measured loss change with the predicted one, half the intensity times the "
    "curvature of the loss along the delta (line); right the share that the score keeps of what "
    "post-training gained. Found break: between the last intensity that keeps half of it and the "
    "first that does not. Predicted break: where the prediction reaches the loss changes at which "
    "edits of any method lose half. The intensity predicts the breaking point if the bands meet. "
    "Light marks have a negative loss change."
)
VARIANT, CURVE, FOUND, PREDICTED = "variant", "curvature", "found break", "predicted break"


@dataclass(frozen=True, kw_only=True)
class Params:
    """No options."""


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return what each variant with an intensity does, and where they break.

    Args:
        table: slopes, scores and the curvature; the rows of each lack the others' columns.
        params: none.

    Returns:
        Rows by `what`: a variant with its pair, intensity, seed, options, measured (nats),
        measured_stderr, kept (the share of post's gain over base) and score_of, see
        `verdicts.of_variants`; the curvature, as `value`
        (nats); found and predicted break, as `lower` and `upper` intensity, NA where no edit
        breaks, or none keeps (predicted: or where the curvature is not positive).

    Raises:
        UserError: several pairs, no variant with an intensity, or post no better than base.
    """
    one_pair(table)
    scores, slopes = table[table["task"].notna()], table[table["node"].notna()]
    changes = results.loss_changes(slopes)
    if "intensity" not in changes or changes["intensity"].notna().sum() == 0:
        raise UserError("nothing to draw: no variant with an editing intensity")
    rows = verdicts.of_variants(scores, changes)
    gained = -rows.loc[(rows["sweep"] == "ends") & (rows["variant"] == "base"), "score_change"]
    if gained.isna().all() or not (gained > 0).all():
        raise UserError("nothing to draw: the post-trained model is no better than its base")
    known = changes.drop_duplicates(["sweep", "variant"]).set_index(["sweep", "variant"])
    rows = rows[rows["verdict"].notna()].join(known["intensity"], on=["sweep", "variant"])
    rows = rows.drop_duplicates(["method", "seed", "tensors", "options"]).assign(
        what=VARIANT,
        kept=1 + rows["score_change"] / gained.iloc[0],
        measured=rows["measured_change"],
    )
    of_dare = rows[rows["intensity"].notna()].sort_values("intensity", kind="stable")
    curvature = table["curvature"].dropna().iloc[0]
    loss = np.array(_break(rows[rows["measured"] > 0], "measured"))
    predicted = 2 * loss / (curvature if curvature > 0 else np.nan)
    found = pd.DataFrame(
        [
            {"what": CURVE, "value": curvature},
            dict(zip(("lower", "upper"), _break(of_dare, "intensity"), strict=True), what=FOUND),
            dict(zip(("lower", "upper"), predicted, strict=True), what=PREDICTED),
        ]
    )
    columns = ["what", "intensity", "seed", "options", "measured", "measured_stderr", "kept"]
    columns += ["pair", "score_of"]
    return pd.concat([of_dare[columns], found], ignore_index=True)


def _break(rows: pd.DataFrame, by: str) -> tuple[float, float]:
    """Return between which values of a column edits lose half; NaN where all keep or all lose."""
    low, high = rows.loc[rows["kept"] >= 0.5, by].max(), rows.loc[rows["kept"] < 0.5, by].min()
    return (high, low) if high < low else (low, high)


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw the loss change and the score side by side, with both breaking points.

    What is not finite (a ruined model's) is in the numbers and has no mark.
    """
    rows = drawn[drawn["what"] == VARIANT].replace([np.inf, -np.inf], np.nan)
    others = drawn[drawn["what"] != VARIANT].set_index("what")
    rows = rows[rows["intensity"] > 0]  # on a logarithmic axis there is no post-trained model
    look = _style.look("dare") | _style.EDGE | {"linestyle": "", "elinewidth": 0.6}
    with _style.style():
        figure, (loss, score), _ = _style.panels(2, 2.6)
        for sign in (1, -1):
            some = rows[sign * rows["measured"] > 0]
            spread = some["measured_stderr"].fillna(0)
            lighter = {} if sign > 0 else {"markerfacecolor": "#f0c3d3"}
            at = some["intensity"], some["measured"].abs()
            loss.errorbar(*at, np.minimum(spread, 0.9 * at[1]), **look | lighter)
        reach = np.geomspace(rows["intensity"].min(), rows["intensity"].max())
        predicted = reach / 2 * others.loc[CURVE, "value"]
        loss.plot(reach, predicted, color=_style.MUTED, linewidth=1.4)
        loss.set_yscale("log")
        loss.set_ylabel("size of the loss change (nats)")
        loss.set_title("measured, and predicted (line)", loc="left", fontweight="bold")
        score.errorbar(rows["intensity"], 100 * rows["kept"], **look)
        score.axhline(50, color=_style.MUTED, linewidth=0.9, linestyle=":")
        score.set_ylabel("kept of what post gained (%)")
        score.set_title("score", loc="left", fontweight="bold")
        for axes in (loss, score):
            axes.set_xscale("log")
            axes.set_xlabel("editing intensity $(k-1)^2\\,p/(1-p)$")
        _draw_breaks(score, others)
        _style.add_note(figure, *verdicts.what_scores_are(drawn))
    return figure


def _draw_breaks(axes: Axes, others: pd.DataFrame) -> None:
    """Shade where the score breaks and where it was predicted to, and say both in numbers."""
    handles = []
    for name, color in ((FOUND, "#f0c3d3"), (PREDICTED, "#bdbdbd")):
        lower, upper = others.loc[name, ["lower", "upper"]].astype(float)
        text = f"none up to {_round(lower)}" if np.isfinite(lower) else "none"
        if np.isfinite(upper) and not np.isfinite(lower):
            text = f"below {_round(upper)}"
        elif np.isfinite(upper):
            axes.axvspan(lower, upper, color=color, zorder=0.5)
            text = " to ".join(dict.fromkeys([_round(lower), _round(upper)]))
        handles.append(Patch(color=color, label=f"{name}: {text}"))
    axes.legend(handles=handles, loc="lower left", fontsize=7, handlelength=1.2)


def _round(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"
