"""What the figures of compared deltas share: their rows, and heat maps of cosines."""

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from deltaedit.errors import UserError
from deltaedit.figures._rows import groups

ALL = "all"  # the group of every tensor
ORDER = ["attention", "feed_forward", "norm", "embedding", "head", "other", ALL]
COLORS = {"cmap": "RdBu_r", "norm": Normalize(-1, 1)}  # blue opposed, white orthogonal, red equal
UNKNOWN = "#dcdcdc"  # no delta, hence no direction
# How numbers may be written: height in points, width as a share of it, leading zero or not.
NUMBERS = ((7, 3.1, True), (6, 3.1, True), (6, 2.45, False), (5, 2.45, False))


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a comparison of deltas; UserError if there are none."""
    rows = table[table["cosine"].notna() | table["dot"].notna()] if "cosine" in table else table[:0]
    if rows.empty:
        raise UserError("nothing to draw: no comparison of deltas")
    return rows


def summed(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the couples' cosines in larger parts, as if their tensors were one vector.

        cosine = sum dot / sqrt(sum norm_first^2 sum norm_second^2), NaN where a delta is zero

    Args:
        rows: of a comparison, see `geometry.compare`.
        keys: the columns that tell the larger parts apart.

    Returns:
        One row per part and couple: keys, first, second, cosine, norm_first, norm_second, entries.
    """
    squares = {name: rows[name].astype(float) ** 2 for name in ("norm_first", "norm_second")}
    totals = groups(rows.assign(**squares), [*keys, "first", "second"])
    found = totals[["dot", *squares, "entries"]].sum().reset_index()
    scale = np.sqrt(found["norm_first"] * found["norm_second"])
    cosine = found.pop("dot") / scale.where(scale > 0)
    norms = {name: np.sqrt(found[name]) for name in squares}
    found = found.assign(cosine=cosine, **norms, entries=found["entries"].astype("int64"))
    return found[[*keys, "first", "second", "cosine", *squares, "entries"]]


def in_order(names: pd.Series) -> list[str]:
    """Return the groups there are, those that the paper draws first."""
    return [name for name in ORDER if (names == name).any()]


def title(group: str) -> str:
    """Return what a group is called where people read."""
    return {ALL: "whole model", "norm": "norm weights"}.get(group, group.replace("_", " "))


def wrap(name: str, width: int) -> str:
    """Break a name into lines of at most `width` letters, where it has a mark if possible."""
    spaced = name.replace("_", "_ ").replace("-", "- ").replace(".", ". ")
    lines = textwrap.wrap(spaced, int(1.15 * width), break_on_hyphens=False)
    short = (piece for line in lines for piece in textwrap.wrap(line.replace(" ", ""), width))
    return "\n".join(short)


def draw_cosines(axes: Axes, cells: np.ndarray) -> None:
    """Draw a heat map of cosines, rows by columns; NaN is grey."""
    axes.imshow(np.ma.masked_invalid(cells), aspect="auto", interpolation="nearest", **COLORS)
    axes.set_facecolor(UNKNOWN)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def add_scale(figure: Figure, grid: Sequence[Axes]) -> None:
    """Add the scale of all heat maps, two inches high where there is room."""
    share = min(0.95, 2 / figure.get_figheight())
    style = {"shrink": share, "aspect": 9 * share * figure.get_figheight(), "pad": 0.02}
    bar = figure.colorbar(ScalarMappable(**COLORS), ax=list(grid), **style)
    bar.set_label("cosine similarity")
    bar.set_ticks([-1, 0, 1], labels=["−1", "0", "1"])
    bar.outline.set_visible(False)


def write_numbers(figure: Figure, grid: Sequence[Axes], maps: Sequence[np.ndarray]) -> None:
    """Write each cosine into its cell where all have room; else mark negative ones by a minus.

    In grey, where blue and red are alike, they tell the sign. To be called last: it lays out the
    figure to know how large the cells are.
    """
    figure.draw_without_rendering()
    points = 72 / figure.dpi
    boxes = [axes.get_window_extent() for axes in grid]
    width = min(b.width / m.shape[1] for b, m in zip(boxes, maps, strict=True)) * points
    height = min(b.height / m.shape[0] for b, m in zip(boxes, maps, strict=True)) * points
    room = [form for form in NUMBERS if form[0] * form[1] + 1 < width and 1.2 * form[0] < height]
    size, _, has_zero = room[0] if room else (min(7, width, height), 0, False)
    for axes, cells in zip(grid, maps, strict=True):
        for (row, column), cosine in np.ndenumerate(cells):
            number = f"{round(cosine, 2) + 0.0:.2f}".replace("-", "−")
            number = number if has_zero else number.replace("0.", ".")
            said = number if room else "−" * int(cosine <= -0.05)
            if np.isfinite(cosine) and said:
                color = "white" if abs(cosine) > 0.6 else "#222222"
                place = {"ha": "center", "va": "center_baseline"}
                axes.text(column, row, said, fontsize=size, color=color, **place)
