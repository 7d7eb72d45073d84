"""What is left of the score against what a variant takes on disk.

Not in the papers: the trade that a practitioner looks for.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deltaedit import verdicts
from deltaedit.errors import UserError
from deltaedit.figures import _style
from deltaedit.figures._rows import groups

MEASURES = ("suite", "size")
CAPTION = (
    "Score, the mean over tasks with one standard error, against the size on disk beside the base, "
    "in percent of a whole checkpoint, one panel per pair: every variant that is stored in a "
    "compact form, coloured by edit method, the shape of the mark by form. The line joins those "
    "that no smaller variant beats, dotted lines are the post-trained model and its base. The best "
    "trade is the upper left."
)
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)  # percent
FORMS = {"adapter": "h", "packed": "P", "sparse": "o"}
VARIANT = ["pair", "method", "tensors", "options"]


@dataclass(frozen=True, kw_only=True)
class Params:
    """No options."""


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the score and the size of every stored variant, means over seeds, and of the ends.

    Args:
        table: scores and sizes; the rows of each lack the other's columns.
        params: none.

    Returns:
        One row per pair, variant and form (base, post: whole checkpoints): method, tensors,
        options, bytes, share (of a checkpoint's bytes), score, stderr, unit and score_of (see
        `verdicts.of_variants`), seeds, and front, whether no smaller one has as high a score.

    Raises:
        UserError: no variant with a size and a score.
    """
    scores, sizes = table[table["task"].notna()], table[table["bytes"].notna()]
    scored = verdicts.of_variants(scores, table[:0])
    stored = sizes[["pair", "sweep", "variant", "form", "bytes", "checkpoint_bytes"]]
    rows = scored.merge(stored, on=["pair", "sweep", "variant"])
    if rows.empty:
        raise UserError(
            "nothing to draw: no variant with a score is stored in a compact form; give its sweep"
            " formats"
        )
    rows = rows.drop_duplicates([*VARIANT, "seed", "form"])  # two sweeps may share a variant
    rows["share"] = rows["bytes"] / rows["checkpoint_bytes"]
    drawn = groups(rows, [*VARIANT, "form", "unit", "score_of"]).agg(
        bytes=("bytes", "mean"),
        share=("share", "mean"),
        over_seeds=("score", "sem"),
        score=("score", "mean"),
        stderr=("score_stderr", "mean"),
        seeds=("seed", "nunique"),
    )
    drawn["stderr"] = drawn["over_seeds"].where(drawn["seeds"] > 1, drawn["stderr"])
    drawn = drawn.drop(columns="over_seeds").reset_index()
    drawn["front"] = [
        _is_best(row, drawn[drawn["pair"] == row["pair"]]) for _, row in drawn.iterrows()
    ]
    ends = scored[(scored["sweep"] == "ends") & scored["pair"].isin(drawn["pair"])]
    ends = ends.rename(columns={"score_stderr": "stderr"})
    ends = ends.assign(share=np.where(ends["method"] == "post", 1.0, 0.0), front=False)
    whole = stored.drop_duplicates("pair").set_index("pair")["checkpoint_bytes"]
    ends["bytes"] = ends["share"] * ends["pair"].map(whole)
    columns = [name for name in drawn if name in ends]
    return pd.concat([drawn, ends[columns]], ignore_index=True)


def _is_best(row: pd.Series, rows: pd.DataFrame) -> bool:
    """Whether none of `rows` is at least as good and smaller, or better and as small."""
    better = (rows["score"] >= row["score"]) & (rows["share"] < row["share"])
    better |= (rows["score"] > row["score"]) & (rows["share"] <= row["share"])
    return pd.notna(row["score"]) and not better.any()


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw a panel per pair."""
    stored = drawn[drawn["form"].notna()]
    looks = {name: _style.look(name) for name in _style.in_order(stored["method"])}
    handles = [
        Line2D([], [], linestyle="", color=look["color"], marker="s", label=look["label"])
        for look in looks.values()
    ]
    handles += [
        Line2D([], [], linestyle="", color=_style.MUTED, marker=marker, label=form)
        for form, marker in FORMS.items()
        if (stored["form"] == form).any()
    ]
    panels = list(groups(stored, ["pair", "unit"]))
    with _style.style():
        figure, grid, _ = _style.panels(len(panels), 2.8, handles)
        for axes, ((pair, unit), rows) in zip(grid, panels, strict=True):
            ends = drawn[(drawn["pair"] == pair) & drawn["form"].isna()].set_index("method")
            _draw_panel(axes, rows, looks)
            low, high = axes.get_ylim()
            _style.draw_levels(axes, ends["score"], near=0.08 * (high - low))
            _style.name_panel(axes, pair)
            axes.set_xlabel("size (% of a checkpoint)")
            axes.set_ylabel("score (%)" if unit == verdicts.POINTS else unit)
        _style.add_note(figure, *verdicts.what_scores_are(drawn))
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, looks: dict) -> None:
    front = rows[rows["front"].astype(bool)].sort_values("share")
    axes.plot(100 * front["share"], front["score"], color=_style.MUTED, linewidth=0.9, zorder=1)
    for (method, form), points in groups(rows, ["method", "form"]):
        look = {"color": looks[method]["color"], "marker": FORMS[form], "linestyle": ""}
        spread = points["stderr"].fillna(0)
        at = 100 * points["share"], points["score"]
        axes.errorbar(*at, spread, elinewidth=0.7, markersize=5, **look, **_style.EDGE)
    axes.set_xscale("log")
    least, most = 100 * rows["share"].min() / 1.5, 100 * rows["share"].max() * 1.5
    axes.set_xlim(least, most)
    wide = most > 100 * least  # only powers of ten have room
    ticks = [tick for tick in TICKS[:: 3 if wide else 1] if least <= tick <= most]
    ticks = ticks or [float(f"{np.sqrt(least * most):.1g}")]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
