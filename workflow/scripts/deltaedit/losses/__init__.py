"""Losses: one module per kind, and the module's name is the kind's name.

A loss module defines `Params`, a frozen keyword-only dataclass of its options, and
`batches(rows, tokenizer, params, batch_size)`, which yields `(weight, loss)` pairs: `loss(model)`
is the differentiable mean over one batch, and the weights of all batches sum to one. A loss that
compares with the base of the pair takes `reference` as well, a function that loads it.
"""

import json
from collections.abc import Callable, Mapping
from inspect import signature
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from deltaedit import registry
from deltaedit.errors import UserError

NAMES = registry.names(__path__)


def load(name: str) -> ModuleType:
    """Return the module of the loss called `name`."""
    return registry.load(__name__, "loss", NAMES, name)


def parse(kind: str, options: Mapping[str, Any]) -> tuple[ModuleType, Any]:
    """Return the module of `kind` and its `Params` made of `options`, or raise ValueError."""
    module = load(kind)
    return module, registry.build_params(module.Params, options)


def takes_reference(kind: str) -> bool:
    """Whether a loss compares with the base of the pair."""
    return "reference" in signature(load(kind).batches).parameters


def build(
    spec: Mapping[str, Any],
    data: str | Path,
    tokenizer: Any,
    reference: Callable[[], Any] | None = None,
) -> list[tuple[float, Any]]:
    """Build the parts of a loss from its config: the first `count` lines of `data`, in batches.

    Args:
        spec: `kind`, `options`, `count` and `batch_size` as in the config.
        data: a file of JSON lines.
        tokenizer: the model's own.
        reference: loads the base of the pair; called, and the model let go, only for a loss that
            compares with it.

    Raises:
        UserError: the file has fewer lines than `count`, or a line that is not a JSON object.
    """
    module, params = parse(spec["kind"], spec["options"])
    with Path(data).open() as file:
        lines = list(islice((line for line in file if line.strip()), spec["count"]))
    if len(lines) < spec["count"]:
        raise UserError(f"{data}: {len(lines)} examples, the loss's count asks for {spec['count']}")
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            raise UserError(f"{data}, example {number}: not a JSON object") from None
    sources = {"reference": reference} if takes_reference(spec["kind"]) else {}
    return list(module.batches(rows, tokenizer, params, spec["batch_size"], **sources))
