"""Losses: one module per kind, and the module's name is the kind's name.

A loss module defines `DATA`, what its examples are ("texts" or "images"), `Params`, a frozen
keyword-only dataclass of its options, and `batches`, which yields `(weight, loss)` pairs:
`loss(model)` is the differentiable mean over one batch, and the weights of all batches sum to one.

- Of texts, `batches(rows, tokenizer, params, batch_size)`: `rows` are the examples by their lines
  in the data. A loss that compares with the base of the pair takes `reference` as well, a function
  that loads it.
- Of images, `batches(pictures, logits, params, batch_size)`, see `deltaedit.images` and
  `deltaedit.image_models`.
"""

import json
import random
from collections.abc import Callable, Mapping
from inspect import signature
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from deltaedit import registry
from deltaedit.errors import UserError

if TYPE_CHECKING:  # a dry run checks options, and need not wait for torch
    from deltaedit.image_models import Logits
    from deltaedit.images import Pictures

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
    """Build the parts of a loss of texts from its config: `count` examples of `data`, in batches.

    Args:
        spec: `kind`, `options`, `count`, `seed` and `batch_size` as in the config. The examples
            are the first of the file, or with a seed drawn from all without replacement; in the
            file's order either way.
        data: a file of JSON lines.
        tokenizer: the model's own.
        reference: loads the base of the pair; called, and the model let go, only for a loss that
            compares with it.

    Raises:
        UserError: the file has fewer lines than `count`, or a line that is not a JSON object.
    """
    module, params = parse(spec["kind"], spec["options"])
    rows = _rows(Path(data), spec["count"], spec.get("seed"))
    sources = {"reference": reference} if takes_reference(spec["kind"]) else {}
    return list(module.batches(rows, tokenizer, params, spec["batch_size"], **sources))


def build_of_images(
    spec: Mapping[str, Any], pictures: "Pictures", logits: "Logits"
) -> list[tuple[float, Any]]:
    """Build the parts of a loss of images from its config: `count` of the pictures, in batches.

    Args:
        spec: `kind`, `options`, `count`, `seed` and `batch_size`, as for `build`.
        pictures: all there are.
        logits: how a model tells their classes.

    Raises:
        UserError: there are fewer pictures than `count`.
    """
    module, params = parse(spec["kind"], spec["options"])
    chosen = _chosen(len(pictures), spec["count"], spec.get("seed"), pictures.folder)
    return list(module.batches(pictures.take(chosen), logits, params, spec["batch_size"]))


def _chosen(known: int, count: int, seed: int | None, place: Path) -> list[int]:
    """Return the numbers of `count` of the `known` examples of a place, in order."""
    if known < count:
        raise UserError(f"{place}: {known} examples, the loss's count asks for {count}")
    return (
        sorted(random.Random(seed).sample(range(known), count))
        if seed is not None
        else [*range(count)]
    )


def _rows(data: Path, count: int, seed: int | None) -> dict[int, dict[str, Any]]:
    with data.open(encoding="utf-8") as file:
        numbered = ((n, line) for n, line in enumerate(file, start=1) if line.strip())
        lines = list(islice(numbered, count) if seed is None else numbered)
    rows = {}
    for i in _chosen(len(lines), count, seed, data):
        number, line = lines[i]
        try:
            rows[number] = dict(json.loads(line))
        except (ValueError, TypeError):
            raise UserError(f"{data}, line {number}: not a JSON object") from None
    return rows
