"""Where in the model the deltas of several pairs are alike: cosine similarities by layer and group.

Figures 2 and 7 of Cao et al. 2025, ParamDelta for Direct Weight Mixing, layer by layer.
"""

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deltaedit.errors import UserError
from deltaedit.figures import _deltas, _style

MEASURES = ("comparison",)
CAPTION = (
    "Where the deltas of several pairs are alike: the cosine similarity of each two, in each layer "
    "and group of tensors. Red deltas point the same way, white ones are orthogonal, blue ones "
    "opposed; grey is where a delta is zero. Compare the couples, and early layers with late ones: "
    "the paper finds deltas of different training data close to orthogonal in all."
)
LONGEST = 30  # of a row's name; longer ones are numbers with a key below


@dataclass(frozen=True, kw_only=True)
class Params:
    pass


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the cosine of each two pairs in each group of each layer.

    Args:
        table: of a comparison, one row per layer, group and couple of pairs.
        params: there are none.

    Returns:
        One row per layer, group, first and second (different pairs): cosine in [-1, 1] (NaN where
        a delta is zero), norm_first, norm_second and entries. Parts outside the layers have none.

    Raises:
        UserError: the table has no comparison, or its models no layers.
    """
    rows = _deltas.compared(table)
    rows = rows[rows["layer"].notna() & (rows["first"] != rows["second"])]
    if rows.empty:
        raise UserError("nothing to draw: the compared models have no layers")
    columns = ["first", "second", "cosine", "norm_first", "norm_second", "entries"]
    drawn = rows[["layer", "group", *columns]].reset_index(drop=True)
    return drawn.astype({"layer": "int64", "entries": "int64"})


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw a heat map for each group, couples by layers."""
    kinds, layers = _deltas.in_order(drawn["group"]), sorted(drawn["layer"].unique())
    couples = list(dict.fromkeys(zip(drawn["first"], drawn["second"], strict=True)))
    cells = drawn.pivot(index=["first", "second"], columns=["group", "layer"], values="cosine")
    cells = cells.reindex(index=couples)
    maps = [cells[group].reindex(columns=layers).to_numpy(float) for group in kinds]
    labels, key = _name(couples)
    with _style.style():
        height = 0.55 + max(0.8, 0.14 * len(couples))
        figure, grid, per_row = _style.panels(len(kinds), height, key)
        for place, (axes, group, cosines) in enumerate(zip(grid, kinds, maps, strict=True)):
            _deltas.draw_cosines(axes, cosines)
            axes.set_title(_deltas.title(group), loc="left", fontweight="bold")
            every = max(1, len(layers) // 8)
            axes.set_xticks(range(0, len(layers), every), layers[::every])
            axes.set_yticks(range(len(couples)), labels)
            axes.tick_params(labelleft=place % per_row == 0)
            axes.set_xlabel("layer")
        _deltas.add_scale(figure, grid)
        _deltas.write_numbers(figure, grid, maps)
    return figure


def _name(couples: list[tuple[str, str]]) -> tuple[list[str], list[Line2D]]:
    """Return the names of rows, and a key to them if they are numbers."""
    labels = [f"{first} – {second}" for first, second in couples]
    if max(map(len, labels)) <= LONGEST:
        return labels, []
    names = list(dict.fromkeys(name for couple in zip(*couples, strict=True) for name in couple))
    number = {name: place + 1 for place, name in enumerate(names)}
    key = [Line2D([], [], linestyle="none", label=f"{number[name]}  {name}") for name in names]
    return [f"{number[first]} – {number[second]}" for first, second in couples], key
