"""Sweeps: from a method, its fixed options and a grid to slices of variants."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain, product
from typing import Any

from deltaedit import edits, registry
from deltaedit.parts import Selection

ENDS = "ends"  # stands where a sweep's name stands, for the base and the post of a pair
WHOLE = "all"  # the slice of a sweep that is not split


@dataclass(frozen=True)
class Variant:
    """One edit method with all its options and a seed."""

    name: str  # from the values on the grid's axes, for people: no code parses it
    method: str
    options: dict[str, Any]
    tensors: Selection  # which tensors are edited
    seed: int


def slices(name: str, sweep: Mapping[str, Any], seed: int) -> dict[str, list[Variant]]:
    """Expand the sweep called `name` into its slices and their variants, in the grid's order.

    Args:
        name: the sweep's name in the config, the name of its one variant where it has no axes.
        sweep: `method`, `options`, `grid` (one or a list of them, perhaps with an axis `method`),
            `tensors`, `seeds`, `split_by` as in the config.
        seed: the seed of a sweep without `seeds`.

    Returns:
        Variants by slice name, such as "drop_rate=0.5", or "all" where `split_by` is empty.

    Raises:
        ValueError: an axis or an option that the method does not have, a value it refuses, or two
            grids that have a variant in common.
    """
    return _slices(name, json.dumps(sweep, default=str), seed)


def methods(sweep: Mapping[str, Any]) -> list[str]:
    """Return the edit methods of a sweep: the one it states, or those on its grids' axes."""
    if "method" in sweep:
        return [sweep["method"]]
    grids = sweep.get("grid", {})
    axes = (grid.get("method", []) for grid in ([grids] if isinstance(grids, Mapping) else grids))
    return list(dict.fromkeys(chain(*axes)))


@cache  # each of a sweep's jobs asks
def _slices(name: str, text: str, seed: int) -> dict[str, list[Variant]]:
    sweep = json.loads(text)
    grids = sweep.get("grid", {})
    found: dict[str, list[Variant]] = {}
    for grid in [grids] if isinstance(grids, Mapping) else grids:
        for slice_name, variant in _variants(name, sweep, dict(grid), seed):
            found.setdefault(slice_name, []).append(variant)
    names = Counter(variant.name for variants in found.values() for variant in variants)
    repeated, times = names.most_common(1)[0]
    if times > 1:
        raise ValueError(f"grid: two of the grids have the variant {repeated!r}")
    return found


def _variants(
    name: str, sweep: Mapping[str, Any], axes: dict[str, Any], seed: int
) -> Iterator[tuple[str, Variant]]:
    """Yield every point of one grid, with the name of its slice."""
    fixed = sweep.get("options", {})
    if ("method" in sweep) is ("method" in axes):
        raise ValueError(
            "method: state it beside the grid or as an axis of each grid, and not in both places"
        )
    if both := [axis for axis in axes if axis in fixed]:
        raise ValueError(f"{both[0]!r} is in both options and grid")
    if "seed" in {*axes, *fixed}:
        raise ValueError("write seeds as seeds: [...], not in options or grid")
    if "seeds" in sweep:
        axes["seed"] = sweep["seeds"]
    for axis in sweep.get("split_by", []):
        if axis not in axes:
            raise ValueError("split_by: " + registry.unknown("axis", axis, axes))

    for values in product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        named = fixed | point
        options = {key: value for key, value in named.items() if key not in ("seed", "method")}
        method = point.get("method") or sweep["method"]
        module, _ = edits.parse(method, options)
        # Without a comma: a cluster's job is told its wildcards as a list with commas.
        slice_name = _label({axis: point[axis] for axis in sweep.get("split_by", [])}, "_") or WHOLE
        yield (
            slice_name,
            Variant(
                name=_label(point) or name,
                method=method,
                options=dict(sorted(options.items())),
                tensors=sweep.get("tensors") or getattr(module, "TENSORS", "all"),
                seed=point.get("seed", seed),
            ),
        )


def _label(point: Mapping[str, Any], separator: str = ",") -> str:
    return separator.join(f"{axis}={_value(value)}" for axis, value in point.items())


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(_value, value))
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if not re.fullmatch(r"[\w.+-]+", text, re.ASCII):  # nor may a shell see more in it
        raise ValueError(
            f"{text!r} cannot stand in a path: letters, digits, '_', '.', '+', '-' only"
        )
    return text
