"""Tables of the papers: one module per kind, and the module's name is the kind's name.

A table module defines

- `MEASURES`, `Params` and `select(table, params)`, as a figure does, see `deltaedit.figures`;
- `TITLE` and `CAPTION`, what is shown and what to compare, true whatever the data;
- `lay_out(selected)`, the numbers that `select` returned as people read them, all texts.

Neither function reads a result file or changes its arguments. Adding a file here is the whole of
adding a table.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from deltaedit import registry

NAMES = registry.names(__path__)


def load(name: str) -> ModuleType:
    """Return the module of the table kind called `name`."""
    return registry.load(__name__, "table kind", NAMES, name)


def parse(kind: str, options: Mapping[str, Any]) -> tuple[ModuleType, Any]:
    """Return the module of `kind` and its `Params` made of `options`, or raise ValueError."""
    module = load(kind)
    return module, registry.build_params(module.Params, options)
