"""Result files as tables: one row per measurement, the options of variants as columns."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from deltaedit import edits
from deltaedit.sweeps import Variant

KEYS = ["pair", "sweep", "slice", "variant", "method", "seed"]


def describe(variant: Variant) -> dict[str, Any]:
    """Return a variant's name, method, seed and all options, defaults filled in."""
    options = asdict(edits.parse(variant.method, variant.options)[1])
    return {"variant": variant.name, "method": variant.method, "seed": variant.seed, **options}


def read_scores(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Read evaluation files: one row per variant and task."""
    rows = [row for path in paths for row in json.loads(Path(path).read_text())["rows"]]
    return pd.DataFrame(rows)


def read_slopes(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Read loss files: one row per variant, node and tensor; options that differ are NA."""
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)


def loss_changes(slopes: pd.DataFrame) -> pd.DataFrame:
    """Sum slopes to one row per variant and loss, with the approximation's check.

    Adds `approximate_change`, the quadrature over all tensors, and `gap`, approximate minus
    measured; all in nats (per token or per example).
    """
    per_variant = [c for c in slopes if c not in ("node", "weight", "tensor", "layer", "group", "slope")]
    weighted = slopes.assign(approximate_change=slopes["weight"] * slopes["slope"])
    groups = weighted.groupby(per_variant, dropna=False, sort=False, observed=True)
    table = groups["approximate_change"].sum().reset_index()
    return table.assign(gap=table["approximate_change"] - table["measured_change"])
