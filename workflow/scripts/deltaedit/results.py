"""Result files as tables: one row per measurement, the options of variants as columns."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from deltaedit import edits
from deltaedit.files import whole_file

VARIANT = ["pair", "sweep", "slice", "variant", "loss"]
# What `series` are called where people read.
LABELS = {
    "dare": "DARE",
    "drop_only": "drop only",
    "della": "DELLA",
    "breadcrumbs": "Breadcrumbs",
    "ties": "TIES",
    "biased_delta": "biased by delta",
    "biased_product": "biased by product",
    "bitdelta": "BitDelta",
    "low_rank": "low rank",
    "expo": "ExPO",
    "combine": "combination",
}


LIMITED = "limited"  # the column of what was made of such scores, see `limited`


def describe(variant: Mapping[str, Any]) -> dict[str, Any]:
    """Return a variant's name, method, seed, edited tensors and all options, defaults filled in.

    Where the method knows the intensity of an edit, it is there too; where the delta is put onto
    another pair's base, `onto`, that pair, and `deltas`, the further pairs whose deltas are added.
    Base and post, which have no method, have no options either. Lists and mappings become text.
    """
    method, options = variant["method"], {}
    if method is not None:
        module, params = edits.parse(method, variant["options"])
        options = asdict(params)
        if hasattr(module, "intensity"):
            options["intensity"] = module.intensity(params)
    columns = {"method": method, "seed": variant["seed"], "tensors": variant["tensors"], **options}
    if variant.get("onto"):
        columns |= {"onto": variant["onto"], "deltas": variant["deltas"]}
    plain = str | int | float | None
    return {
        "variant": variant["name"],
        **{key: v if isinstance(v, plain) else json.dumps(v) for key, v in columns.items()},
    }


def has(table: pd.DataFrame, option: str, value: Any) -> pd.Series:
    """Return which rows have an option with this value; beside a text, true and false are texts."""
    if option not in table:
        return pd.Series(data=False, index=table.index)
    is_so = table[option].isin([value])
    return is_so | (table[option].astype(str) == str(value)) if isinstance(value, bool) else is_so


def series(table: pd.DataFrame) -> pd.Series:
    """Return what each row is called in figures and tables: base, post, or what edited it.

    That is the method, told apart where one method holds two ideas: `drop_only` is dare without
    rescaling, `biased_delta` and `biased_product` are biased by one or the other.
    """
    names = table["method"].astype(object).where(table["method"].notna(), table["variant"])
    names[table["method"].isin(["dare"]) & has(table, "rescale", False)] = "drop_only"
    if (biased := table["method"].isin(["biased"])).any():
        names[biased] = "biased_" + table["by"][biased]
    return names


def label(name: str) -> str:
    """Return what a series is called where people read."""
    return LABELS.get(name, name.replace("_", " "))


def of_task(task: str, metric: str, how: str, *, percent: bool = False) -> str:
    """Return a task with its metric and unit, such as "gsm8k (exact_match, strict-match, %)"."""
    return f"{task} ({scored_by(metric, how)}{', %' if percent else ''})"


def scored_by(metric: str, how: str) -> str:
    """Return a metric with its filter, if it has one, as people read it."""
    return metric if how == "none" else f"{metric}, {how}"


def limited(table: pd.DataFrame) -> str:
    """Return a sentence on how many documents scores stand where a `limit` cut tasks short, or "".

    Args:
        table: scores, perhaps among other rows, or what `marked` returned.
    """
    if LIMITED in table:
        return table[LIMITED].iloc[0]
    if "limit" not in table or table["limit"].isna().all():
        return ""
    suites = table[table["task"].notna()].drop_duplicates(["suite", "limit"])
    (first, limit), *others = suites.dropna(subset=["limit"])[["suite", "limit"]].to_numpy()
    said = f"At most {limit:.0f} document{'s' if limit > 1 else ''} per task"
    if suites["limit"].nunique(dropna=False) > 1:
        said += ", ".join([f" in {first}", *(f"{limit:.0f} in {suite}" for suite, limit in others)])
    return f"{said}."


def marked(made: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return what was made of scores with a column that says so where these are limited."""
    said = limited(table)
    return made.assign(**{LIMITED: said}) if said else made


def options(table: pd.DataFrame) -> list[str]:
    """Return the options of each row's method as text, such as "drop_rate=0.5, rescale=True"."""
    found = []
    for _, row in table.iterrows():
        method = row["method"]
        names = (
            [] if pd.isna(method) else (field.name for field in fields(edits.load(method).Params))
        )
        known = ((name, row.get(name)) for name in names)
        found.append(", ".join(f"{name}={_short(v)}" for name, v in known if not pd.isna(v)))
    return found


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


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
    kinds = dict.fromkeys(("method", "tensors"), "string")
    kinds |= dict.fromkeys(("seed", "layer", "batch_size", "limit"), "Int64")
    errors = ("stderr", "slope_stderr", "measured_stderr", "approximate_stderr")
    kinds |= dict.fromkeys((*errors, "intensity"), "float64")
    return table.astype({name: kind for name, kind in kinds.items() if name in table})


def read_scores(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Read evaluation files: one row per variant and task."""
    rows = [row for path in paths for row in _measured(json.loads(Path(path).read_text()))]
    return _typed(pd.DataFrame(rows))


def _measured(file: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a file's rows without the answers that a judge has judged."""
    return [{key: row[key] for key in row if key != "answers"} for row in file["rows"]]


def read_slopes(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Read loss files: one row per variant, quadrature, node and tensor, options NA elsewhere."""
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)


def read(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Read result files of any kind into one table; what rows of one kind lack is NA.

    Rows of scores have a `task`, and as `base_repo` and `post_repo` where a pair from the hub comes
    from; slopes have a `node`, sizes `bytes`, curvatures a `curvature` and comparisons of deltas a
    `cosine`.
    """
    files = [Path(path) for path in paths]
    described = [json.loads(file.read_text()) for file in files if file.suffix == ".json"]
    rows = [row for one in described for row in _rows(one)]
    tables = [_typed(pd.DataFrame(rows))] if rows else []
    if parquets := [file for file in files if file.suffix == ".parquet"]:
        tables.append(read_slopes(parquets))
    return pd.concat(tables, ignore_index=True)


def _rows(file: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "rows" not in file:
        return [{key: file[key] for key in ("pair", "loss", "curvature")}]
    ends = {f"{end}_repo": file["provenance"][end].get("repo") for end in ("base", "post")}
    return [{**row, **ends} for row in _measured(file)]


def read_curvatures(paths: Iterable[str | Path]) -> dict[tuple[str, str], float]:
    """Read curvature files: sum_i H_ii D_i^2 by pair and loss, in nats."""
    found = (json.loads(Path(path).read_text()) for path in paths)
    return {(one["pair"], one["loss"]): one["curvature"] for one in found}


def loss_changes(
    slopes: pd.DataFrame, curvatures: Mapping[tuple[str, str], float] | None = None
) -> pd.DataFrame:
    """Sum slopes to one row per variant, loss and quadrature, with the approximation's check.

    All in nats (per token or per example):

    - `approximate_change`, the quadrature over all tensors, `gap`, it minus the measured one, and
      `gap_exceeds_error`, whether it is larger than the standard error of the measured one;
    - `first_order`, the slope at W_post, and `second_order`, half the curvature along the path,
      from the slopes at the first two nodes of all quadratures; NaN where none has a node there;
    - `expected_second_order`, half the intensity times sum_i H_ii D_i^2, where both are known.

    Args:
        slopes: one row per variant, quadrature, node and tensor.
        curvatures: sum_i H_ii D_i^2 by pair and loss.
    """
    per_slope = ("node", "weight", "tensor", "layer", "group", "slope", "slope_stderr")
    per_variant = [column for column in slopes if column not in per_slope]
    weighted = slopes.assign(approximate_change=slopes["weight"] * slopes["slope"])
    # A slope that is not a number must not vanish from the sum.
    table = _by(weighted, per_variant)["approximate_change"].sum(skipna=False)
    table = table.reset_index()
    table = table.merge(_orders(slopes), on=VARIANT)
    table["gap"] = table["approximate_change"] - table["measured_change"]
    table["gap_exceeds_error"] = table["gap"].abs() > table["measured_stderr"]
    if curvatures and "intensity" in table:
        found = [curvatures.get(key) for key in zip(table["pair"], table["loss"], strict=True)]
        table["expected_second_order"] = table["intensity"] / 2 * pd.Series(found, dtype=float)
    return table


def _orders(slopes: pd.DataFrame) -> pd.DataFrame:
    """Return the first two orders of the change in t, one row per variant."""
    shared = slopes.drop_duplicates([*VARIANT, "node", "tensor"])  # by several quadratures
    totals = _by(shared, [*VARIANT, "node"])["slope"].sum(skipna=False).reset_index()
    found = []
    for variant, rows in _by(totals, VARIANT):
        (t0, s0), *later = sorted(zip(rows["node"], rows["slope"], strict=True))
        first = s0 if t0 == 0 else math.nan
        second = (later[0][1] - s0) / (later[0][0] - t0) / 2 if later else math.nan
        found.append((*variant, first, second))
    return pd.DataFrame(found, columns=[*VARIANT, "first_order", "second_order"])


def _by(rows: pd.DataFrame, keys: list[str]) -> Any:
    return rows.groupby(keys, dropna=False, sort=False, observed=True)
