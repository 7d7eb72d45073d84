"""Where in the model an edit changes the loss: the terms of the Riemann sum by layer and group.

Not in the papers, whose Figure 3 shows the terms of Tang et al. 2024, A Unified View of Delta
Parameter Editing, without saying where they stand.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deltaedit import results
from deltaedit.errors import UserError
from deltaedit.figures import _style
from deltaedit.figures._rows import groups, one_pair
from deltaedit.quadrature import RULES

MEASURES = ("loss",)
CAPTION = (
    "Where each method changes the loss: the terms of the Riemann sum added up by layer and group "
    "of tensors, as a share of the sum of their sizes, mean over the method's variants. Red raises "
    "the loss, blue lowers it; a cell without a tensor is grey. Parts outside the layers "
    "(embedding, final norm, head) stand in the last column. Compare the methods' patterns: equal "
    "ones spread their change alike, whatever its size."
)
VARIANT = ["sweep", "slice", "variant"]
OUTSIDE = "–"
ORDER = ["embedding", "norm", "attention", "feed_forward", "other", "head"]


@dataclass(frozen=True, kw_only=True)
class Params:
    quadrature: Literal[*RULES] | None = None  # None: the first of the loss


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the share of every layer and group in the terms of each method.

        term = sum over the tensors of a part of sum_i w_i s(t_i)
        share = term / sum over all parts of abs(term), mean over variants

    Args:
        table: slopes, one row per variant, quadrature, node and tensor.
        params: see `Params`.

    Returns:
        One row per method (see `results.series`), layer (NA: outside the layers) and group: share
        in [-1, 1] and variants, how many it is the mean of.

    Raises:
        UserError: several pairs, or no edited variant by the quadrature.
    """
    one_pair(table)
    rule = params.quadrature or table["quadrature"].iloc[0]
    rows = table[(table["quadrature"] == rule) & table["method"].notna()]
    if rows.empty:
        raise UserError(f"nothing to draw: no edited variant by {rule}")
    variants = rows.drop_duplicates(VARIANT)
    variants = variants.assign(options=results.options(variants))  # two sweeps may share one
    variants = variants.drop_duplicates(["method", "seed", "tensors", "options"])
    rows = rows.merge(variants[VARIANT], on=VARIANT)
    rows = rows.assign(method=results.series(rows), term=rows["weight"] * rows["slope"])
    part = ["method", "layer", "group"]
    terms = groups(rows, [*part, *VARIANT])["term"].sum(skipna=False).reset_index()
    sizes = groups(terms.assign(size=terms["term"].abs()), VARIANT)["size"]
    terms["share"] = terms["term"] / sizes.transform(lambda s: s.sum(skipna=False) or np.nan)
    shares = groups(terms, part)["share"]
    return shares.mean().to_frame().assign(variants=shares.count()).reset_index()


def draw(drawn: pd.DataFrame, params: Params) -> Figure:
    """Draw a heat map for each method."""
    methods = _style.in_order(drawn["method"])
    layers = sorted(drawn["layer"].dropna().unique())
    columns = [*layers, OUTSIDE] if drawn["layer"].isna().any() else layers
    names = [name for name in ORDER if (drawn["group"] == name).any()]
    limit = max(drawn["share"].abs().max(), 1e-9)
    with _style.style():
        figure, grid, per_row = _style.panels(len(methods), max(1.4, 0.5 + 0.19 * len(names)))
        for place, (axes, method) in enumerate(zip(grid, methods, strict=True)):
            rows = drawn[drawn["method"] == method]
            layer = rows["layer"].astype(object).where(rows["layer"].notna(), OUTSIDE)
            cells = rows.assign(layer=layer).pivot(index="group", columns="layer", values="share")
            cells = cells.reindex(index=names, columns=columns).to_numpy(float)
            image = axes.imshow(100 * cells, cmap="RdBu_r", vmin=-100 * limit, vmax=100 * limit)
            axes.set_aspect("auto")
            axes.set_title(_style.look(method)["label"], loc="left", fontweight="bold")
            _scale(axes, names, columns)
            axes.tick_params(labelleft=place % per_row == 0)
            if place + per_row >= len(methods):
                axes.set_xlabel("layer")
        figure.colorbar(image, ax=grid, label="share of the terms (%)", shrink=0.8, pad=0.02)
    return figure


def _scale(axes: Axes, names: list[str], columns: list) -> None:
    """Name the groups and the layers, of many layers some."""
    axes.set_facecolor("#dcdcdc")
    axes.grid(visible=False)
    every = max(1, len(columns) // 8)
    marked = [i for i, column in enumerate(columns) if i % every == 0 or column == OUTSIDE]
    axes.set_xticks(marked, [_name(columns[i]) for i in marked])
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def _name(column: float | str) -> str:
    """Return a column's label, the same of a layer from a CSV, where it is a float."""
    return column if column == OUTSIDE else f"{column:g}"
