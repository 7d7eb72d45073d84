"""Result files as tables: one row per measurement, the options of variants as columns."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from deltaedit import edits
from deltaedit.files import whole_file


def describe(variant: Mapping[str, Any]) -> dict[str, Any]:
    """Return a variant's name, method, seed, edited tensors and all options, defaults filled in.

    Base and post, which have no method, have no options either. Lists and mappings become text.
    """
    method, options = variant["method"], {}
    if method is not None:
        options = asdict(edits.parse(method, variant["options"])[1])
    columns = {"method": method, "seed": variant["seed"], "tensors": variant["tensors"], **options}
    plain = str | int | float | None
    return {
        "variant": variant["name"],
        **{key: v if isinstance(v, plain) else json.dumps(v) for key, v in columns.items()},
    }


def write_parquet(path: str | Path, rows: list[dict[str, Any]], record: Mapping[str, Any]) -> None:
    """Write rows as Parquet, with their provenance in the file's metadata."""
    table = pa.Table.from_pandas(_typed(pd.DataFrame(rows)), preserve_index=False)
    metadata = {**table.schema.metadata, b"deltaedit": json.dumps(record).encode()}
    with whole_file(path) as partial:
        pq.write_table(table.replace_schema_metadata(metadata), partial)


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all."""
    with whole_file(path) as partial:
        table.to_csv(partial, index=False)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Give columns that may be empty the same types in every file."""
    for name in table.columns:  # one type per column: true beside "l1" becomes text
        if table[name].dropna().map(type).nunique() > 1:
            table[name] = table[name].map(str, na_action="ignore")
    kinds = {"method": "string", "tensors": "string", "seed": "Int64", "layer": "Int64"}
    return table.astype({name: kind for name, kind in kinds.items() if name in table})


def read_scores(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Read evaluation files: one row per variant and task."""
    rows = [row for path in paths for row in json.loads(Path(path).read_text())["rows"]]
    return _typed(pd.DataFrame(rows))


def read_slopes(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Read loss files: one row per variant, node and tensor; options that differ are NA."""
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)


def loss_changes(slopes: pd.DataFrame) -> pd.DataFrame:
    """Sum slopes to one row per variant and loss, with the approximation's check.

    Adds `approximate_change`, the quadrature over all tensors, and `gap`, approximate minus
    measured; all in nats (per token or per example).
    """
    per_slope = ("node", "weight", "tensor", "layer", "group", "slope")
    per_variant = [column for column in slopes if column not in per_slope]
    weighted = slopes.assign(approximate_change=slopes["weight"] * slopes["slope"])
    groups = weighted.groupby(per_variant, dropna=False, sort=False, observed=True)
    # A slope that is not a number must not vanish from the sum.
    table = groups["approximate_change"].sum(skipna=False).reset_index()
    return table.assign(gap=table["approximate_change"] - table["measured_change"])
