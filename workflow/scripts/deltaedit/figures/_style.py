"""One look for all figures: a paper's width, colours told apart by colour blind and in grey."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from deltaedit.files import whole_file

FULL_WIDTH = 7.0  # inches, both columns of a paper
MUTED = "#6e6e6e"  # what is there for reference

METHOD_COLORS = {"dare": "#cb4679", "drop_only": "#2b2b2b", "expo": "#2f7f9e"}
METHOD_MARKERS = {"dare": "o", "drop_only": "s", "expo": "D"}
METHOD_LABELS = {"dare": "DARE", "drop_only": "drop only"}

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


def scale_color(dropped_scale: float) -> str:
    """Return the colour of a k: the larger k, the lighter; k = 0 is DARE."""
    if dropped_scale == 0:
        return METHOD_COLORS["dare"]
    shade = np.interp(dropped_scale, _SCALES, _SHADES)
    return to_hex(matplotlib.colormaps["plasma"](float(shade)))


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
