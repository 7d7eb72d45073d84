"""Figures: one module per kind, and the module's name is the kind's name.

A figure module defines

- `MEASURES`, what it draws: "suite" (scores, a row per variant and task), "loss" (slopes, a row
  per variant, quadrature, node and tensor), with a suite also "size" (bytes, a row per variant and
  form), with either also "onto" (both ends of the pairs whose base takes a delta or whose delta
  is added), with a loss also "curvature" (a row per pair), all as rows of one table; or
  "comparison" (a row per layer, group and couple of pairs, see `deltaedit.geometry`), alone and of
  no one pair;
- `Params`, a frozen keyword-only dataclass of its options, perhaps without any;
- `CAPTION`, what is drawn and what to compare, true whatever the data;
- `select(table, params)`, the numbers that are drawn as a tidy table, which becomes the figure's
  CSV; UserError if the table holds nothing to draw;
- `draw(drawn, params)`, a `matplotlib.figure.Figure` of what `select` returned, without pyplot.

Neither function reads or writes a file or changes its arguments. Adding a file here is the whole
of adding a figure.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from deltaedit import registry

NAMES = registry.names(__path__)


def load(name: str) -> ModuleType:
    """Return the module of the figure kind called `name`."""
    return registry.load(__name__, "figure kind", NAMES, name)


def parse(kind: str, options: Mapping[str, Any]) -> tuple[ModuleType, Any]:
    """Return the module of `kind` and its `Params` made of `options`, or raise ValueError."""
    module = load(kind)
    return module, registry.build_params(module.Params, options)
