"""Losses: one module per kind, and the module's name is the kind's name.

A loss module defines `Params`, a frozen keyword-only dataclass of its options, and
`batches(rows, tokenizer, params, batch_size)`, which yields `(weight, loss)` pairs: `loss(model)`
is the differentiable mean over one batch, and the weights of all batches sum to one.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from deltaedit import registry

NAMES = registry.names(__path__)


def load(name: str) -> ModuleType:
    """Return the module of the loss called `name`."""
    return registry.load(__name__, "loss", NAMES, name)


def parse(kind: str, options: Mapping[str, Any]) -> tuple[ModuleType, Any]:
    """Return the module of `kind` and its `Params` made of `options`, or raise ValueError."""
    module = load(kind)
    return module, registry.build_params(module.Params, options)
