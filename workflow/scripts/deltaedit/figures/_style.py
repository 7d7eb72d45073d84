"""One look for all figures: a paper's width, colours told apart by colour blind and in grey."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import matplotlib
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import Locator
from matplotlib.transforms import ScaledTranslation, Transform

from deltaedit import results
from deltaedit.files import whole_file

FULL_WIDTH = 7.0  # inches, both columns of a paper
MAX_COLUMNS = 3  # of panels: wider ones leave room to see lines that coincide
MUTED = "#6e6e6e"  # what is there for reference
NOTE = 7  # points, the letters of notes

# Each idea has one colour, shape and name everywhere, see `results.series`.
METHOD_COLORS = {
    "dare": "#cb4679",
    "drop_only": "#2b2b2b",
    "della": "#f0a33a",
    "breadcrumbs": "#8a5a2b",
    "ties": "#d9480f",
    "biased_delta": "#9d8cd9",
    "biased_product": "#5b2d90",
    "bitdelta": "#17803d",
    "low_rank": "#4aa8e0",
    "expo": "#1f5f8b",
    "combine": "#8f8f8f",
}
METHOD_MARKERS = {
    "dare": "o",
    "drop_only": "s",
    "della": "^",
    "breadcrumbs": "v",
    "ties": "X",
    "biased_delta": "<",
    "biased_product": ">",
    "bitdelta": "P",
    "low_rank": "h",
    "expo": "D",
    "combine": "p",
}
# What is no method, such as a pair or a task, gets these in turn.
_COLORS = ("#1f5f8b", "#cb4679", "#17803d", "#e08214", "#5b2d90", "#2b2b2b", "#8a5a2b", "#4aa8e0")
_MARKERS = "osD^vhXP"
EDGE = {"markeredgecolor": "white", "markeredgewidth": 0.4}
# A method of the user's own gets one of these, by its name.
_SPARE_COLORS = ("#00797a", "#a8437f", "#6b7a00", "#b8651b")

# Where k stands on a colour map that grows lighter: negative k dark, k = 0 in DARE's own colour.
_SCALES = (-4.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 4.0)
_SHADES = (0.04, 0.12, 0.28, 0.4625, 0.66, 0.74, 0.82, 0.9)

_LOOK = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#444444",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "savefig.dpi": 200,
    # Letters as shapes: as text, a reader without the font sees other widths and lost superscripts.
    "svg.fonttype": "path",
    "svg.hashsalt": "deltaedit",
}


def style() -> AbstractContextManager[None]:
    """Return the context to draw in: the project's look on matplotlib's defaults."""
    return matplotlib.style.context(_LOOK, after_reset=True)


def look(method: str) -> dict[str, str]:
    """Return color, marker and label of a series, also of a method of the user's own."""
    spare = sum(map(ord, method))
    return {
        "color": METHOD_COLORS.get(method, _SPARE_COLORS[spare % len(_SPARE_COLORS)]),
        "marker": METHOD_MARKERS.get(method, "*"),
        "label": results.label(method),
    }


def in_order(methods: Iterable[str]) -> list[str]:
    """Return different series in the order of the legend: known ones first."""
    known = list(METHOD_COLORS)
    return sorted(set(methods), key=lambda m: (known.index(m) if m in known else len(known), m))


def looks_in_turn(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return label, color and marker of each different name that is no method."""
    return {
        name: {"label": name, "color": _COLORS[i % len(_COLORS)]}
        | {"marker": _MARKERS[(i + i // len(_COLORS)) % len(_MARKERS)], **EDGE}
        for i, name in enumerate(dict.fromkeys(names))
    }


def looks_of_tasks(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return how the points or the line of each task look, its label with the metric."""
    tasks = rows[["task", "metric", "filter"]].drop_duplicates("task")
    names = {row.task: results.of_task(*row) for row in tasks.itertuples(index=False)}
    return {task: look | {"label": names[task]} for task, look in looks_in_turn(names).items()}


def panels(
    count: int, height: float, handles: Sequence[Artist] = (), *, most: int = MAX_COLUMNS
) -> tuple[Figure, list[Axes], int]:
    """Return a figure with `count` panels, each `height` inches high, and the number of columns.

    Args:
        count: from 1 on; with one panel the figure has half the width.
        height: of a row of panels.
        handles: of the legend that stands below all panels, if there is one.
        most: how many columns there may be.
    """
    rows = math.ceil(count / most)
    columns = math.ceil(count / rows)
    width = FULL_WIDTH if columns > 1 else FULL_WIDTH / 2
    longest = max((len(handle.get_label()) for handle in handles), default=0)
    room = int(width / max(1.1, 0.5 + 0.06 * longest)) or 1
    lines = math.ceil(len(handles) / room)
    legend_columns = math.ceil(len(handles) / max(lines, 1))  # no line much shorter than others
    figure = Figure((width, height * rows + 0.2 * (lines + bool(lines))), layout="constrained")
    grid = [figure.add_subplot(rows, columns, place + 1) for place in range(count)]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns)
    return figure, grid, columns


def name_panel(axes: Axes, name: str, **more: Any) -> None:
    """Write a panel's name above it, in several lines if it is long."""
    axes.set_title(textwrap.fill(name, 26), loc="left", fontweight="bold", **more)


def name_task(axes: Axes, task: str, metric: str, how: str) -> None:
    """Name a panel's task and, below, its metric with the filter if there is one."""
    name_panel(axes, task, pad=13)
    note_above(axes, results.scored_by(metric, how))


def note_above(axes: Axes, text: str) -> None:
    """Write a small line between a panel and its name, which needs a `pad` of 13 points."""
    edge = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(text, (0, 1), (0, 4), **edge, color=MUTED, fontsize=7)


def add_note(figure: Figure, *sentences: str) -> None:
    """Write in small grey letters above all panels, and above an earlier note."""
    letters = int((figure.get_figwidth() - 0.1) * 72 / (0.56 * NOTE))
    lines = [line for text in sentences for line in textwrap.wrap(text, letters)]
    figure.set_figheight(figure.get_figheight() + len(lines) * 1.25 * NOTE / 72)
    above = "\n".join([*lines, *filter(None, [figure.get_suptitle()])])
    figure.suptitle(above, x=0.01, ha="left", fontsize=NOTE, color=MUTED)


def scale_color(dropped_scale: float) -> str:
    """Return the colour of a k: the larger k, the lighter; k = 0 is DARE."""
    if dropped_scale == 0:
        return METHOD_COLORS["dare"]
    shade = np.interp(dropped_scale, _SCALES, _SHADES)
    return to_hex(matplotlib.colormaps["plasma"](float(shade)))


def aside(axes: Axes, points: float) -> Transform:
    """Return where data stand that are moved to the side by `points` on paper."""
    return axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)


def scale_percent(axes: Axes, values: np.ndarray) -> None:
    """Mark the sorted `values` that were measured, where their labels have room, and 0 to 100 %."""
    width = np.ptp(values) or 0.1
    axes.set_xlim(values[0] - 0.13 * width, values[-1] + 0.13 * width)
    if np.all(np.diff(values) >= 0.15 * width):
        axes.set_xticks(values, [f"{value:g}" for value in values])
    else:
        axes.locator_params(axis="x", nbins=5)
    axes.set_ylim(-5, 105)
    axes.set_yticks(range(0, 101, 25))


def symlog(axes: Axes, which: Literal["x", "y"], linear: float) -> None:
    """Make an axis linear from -`linear` to `linear`, which is shaded, and logarithmic outside."""
    axis, scale, span, line = {
        "x": (axes.xaxis, axes.set_xscale, axes.axvspan, axes.axvline),
        "y": (axes.yaxis, axes.set_yscale, axes.axhspan, axes.axhline),
    }[which]
    scale("symlog", linthresh=linear, linscale=0.7)
    axis.set_major_locator(_Powers(linear))
    span(-linear, linear, color="#f4f4f4", zorder=0)
    line(0, color=MUTED, linewidth=0.9)


class _Powers(Locator):
    """Marks zero and the powers of ten from `linear` on, of which those that have room."""

    def __init__(self, linear: float) -> None:
        self.linear = linear

    def __call__(self) -> np.ndarray:
        low, high = sorted(self.axis.get_view_interval())
        place = self.axis.get_transform().transform
        axes, is_x = self.axis.axes, self.axis.axis_name == "x"
        inches = (axes.bbox.width if is_x else axes.bbox.height) / axes.figure.dpi
        share = (0.35 if is_x else 0.18) / max(inches, 0.1)  # of the axis that a label takes
        room = share * np.ptp(place(np.array([low, high])))
        first, last = np.log10([self.linear, max(-low, high, 10 * self.linear)])
        powers = 10.0 ** np.arange(np.round(first), np.floor(last) + 1)
        places = place(powers)
        every = math.ceil(room / (places[1] - places[0]))
        powers = powers[np.searchsorted(places, room) :: every]
        ticks = np.array([*-powers[::-1], 0.0, *powers])
        return ticks[(ticks >= low) & (ticks <= high)]


def draw_levels(axes: Axes, levels: Mapping[str, float], near: float) -> None:
    """Draw horizontal lines named at the right edge; two that are `near` have names that part."""
    ordered = sorted(levels.items(), key=lambda level: level[1])
    at_edge = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
    for i, (name, height) in enumerate(ordered):
        axes.axhline(height, color=MUTED, linewidth=0.9, linestyle=":", zorder=1.9)
        crowded = len(ordered) == 2 and ordered[1][1] - ordered[0][1] < near
        align, shift = (("top", -1), ("bottom", 1))[i] if crowded else ("center", 0)
        small = {"color": MUTED, "fontsize": 7, "verticalalignment": align}
        axes.annotate(name, (1, height), (2, shift), **at_edge, **small)


def save(figure: Figure, svg: str | Path, png: str | Path) -> None:
    """Write `figure` as SVG and PNG, whole or not at all; the same figure gives the same bytes."""
    with style():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # else each drawing starts from the last one's layout
        for path, form, metadata in ((svg, "svg", {"Date": None}), (png, "png", {})):
            with whole_file(path) as partial:
                figure.savefig(partial, format=form, metadata=metadata)
