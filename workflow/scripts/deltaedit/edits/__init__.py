"""Edit methods: one module per method, and the module's name is the method's name.

A method module defines `Params`, a frozen keyword-only dataclass of its options, `EXAMPLE`, and
`apply(delta, params, *, rng)`, a pure function of one tensor. Adding a file here is the whole of
adding a method. What it may define beside them:

* `editor(params, stream)`, which returns a function that edits a `Chunk`, a run of entries: then
  the method streams, whatever the size of the tensor. `ROWS = True` asks for whole rows.
* `ranks(params, size)`, ranks at which to cut a tensor's sorted magnitudes: the editor then gets
  the `Blocks` between them as its third argument.
* `TENSORS`, which tensors it edits unless the sweep says so, "all" without it.
"""

from collections.abc import Mapping
from inspect import signature
from types import ModuleType
from typing import Any

from deltaedit import registry

NAMES = registry.names(__path__)


def load(name: str) -> ModuleType:
    """Return the module of the edit method called `name`."""
    return registry.load(__name__, "edit method", NAMES, name)


def parse(method: str, options: Mapping[str, Any]) -> tuple[ModuleType, Any]:
    """Return the module of `method` and its `Params` made of `options`, or raise ValueError."""
    module = load(method)
    return module, registry.build_params(module.Params, options)


def is_whole(method: ModuleType) -> bool:
    """Whether a method takes a tensor at once, whatever its size, having no editor that streams."""
    return not hasattr(method, "editor") and not hasattr(method, "prepare")


def takes(method: ModuleType, argument: str) -> bool:
    """Whether a method takes more than a delta: a `gradient`, or further `deltas`."""
    return argument in signature(method.apply).parameters
