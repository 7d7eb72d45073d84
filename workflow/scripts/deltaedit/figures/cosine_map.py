"""How alike the deltas of several pairs are: their cosine similarities in each group of tensors.

Figures 2 and 7 of Cao et al. 2025, ParamDelta for Direct Weight Mixing, over all layers.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deltaedit.figures import _deltas, _style

MEASURES = ("comparison",)
CAPTION = (
    "How alike the deltas of several pairs are: the cosine similarity of each two, in each group "
    "of tensors and in the whole model. All layers of a group count as one vector, so that layers "
    "which post-training changes more weigh more. Red deltas point the same way, white ones are "
    "orthogonal, blue ones opposed. Grey is a pair with itself, or a delta that is zero; a group "
    "in which all are zero is left out. Compare pairs that share training data with pairs that do "
    "not: the paper finds the deltas of the latter close to orthogonal."
)


@dataclass(frozen=True, kw_only=True)
class Params:
    pass


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the cosine of each two pairs in each group.

        cosine = sum dot / sqrt(sum norm_first^2 sum norm_second^2), sums over layers

    That of the whole group, not a mean over layers, in which a layer that hardly changes would
    count as much as any other.

    Args:
        table: of a comparison, one row per layer, group and couple of pairs.
        params: there are none.

    Returns:
        One row per group ("all": every tensor), first and second, a pair with itself included:
        cosine in [-1, 1] (NaN where a delta is zero), norm_first, norm_second and entries.

    Raises:
        UserError: the table has no comparison.
    """
    rows = _deltas.compared(table)
    whole = _deltas.summed(rows.assign(group=_deltas.ALL), ["group"])
    return pd.concat([_deltas.summed(rows, ["group"]), whole], ignore_index=True)


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw a heat map for each group, pairs by pairs."""
    names = list(dict.fromkeys(drawn["first"]))
    known = drawn["cosine"].notna() | (drawn["group"] == _deltas.ALL)
    kinds = _deltas.in_order(drawn.loc[known, "group"])
    maps = [_cells(drawn[drawn["group"] == group], names) for group in kinds]
    labels = [_deltas.wrap(name, 30) for name in names]
    lines = max(label.count("\n") + 1 for label in labels)
    with _style.style():
        height = 0.35 + max(0.9, len(names) * max(0.2, 0.13 * lines))
        most = 3 if len(names) <= 5 else 2  # so that numbers fit
        figure, grid, per_row = _style.panels(len(kinds), height, most=most)
        for place, (axes, group, cells) in enumerate(zip(grid, kinds, maps, strict=True)):
            _deltas.draw_cosines(axes, cells)
            axes.set_title(_deltas.title(group), loc="left", fontweight="bold")
            numbers = range(1, len(names) + 1)
            axes.set_xticks(range(len(names)), numbers)
            axes.set_yticks(
                range(len(names)),
                numbers
                if place % per_row
                else [f"{label}  {number}" for label, number in zip(labels, numbers, strict=True)],
            )
        _deltas.add_scale(figure, grid)
        _deltas.write_numbers(figure, grid, maps)
    return figure


def _cells(rows: pd.DataFrame, names: list[str]) -> np.ndarray:
    """Return the cosines of a group, symmetric, without those of a pair with itself."""
    above = rows.pivot(index="first", columns="second", values="cosine")
    above = above.reindex(index=names, columns=names).to_numpy(float)
    above = np.triu(above, 1)
    return above + above.T + np.diag(np.full(len(names), np.nan))
