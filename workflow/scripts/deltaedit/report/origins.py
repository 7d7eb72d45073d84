"""Where the results of a study come from: its checkpoints, versions, devices and commits."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from deltaedit.report import cells

SETTINGS = ("device", "dtype", "limit", "seed")


@dataclass(frozen=True)
class End:
    """Base or post of a pair: what it is called, its source and the hash of its weights."""

    pair: str
    end: str
    source: str
    sha256: str


def read(paths: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Return the provenance of result files: JSON with an entry of that name, or Parquet.

    One record each, or for a comparison one for each of its pairs.
    """
    records = []
    for path in map(Path, paths):
        if path.suffix == ".parquet":
            record = json.loads(pq.read_schema(path).metadata[b"deltaedit"])
            records += record.get("pairs", [record])
        else:
            records.append(json.loads(path.read_text())["provenance"])
    return records


def ends(records: Iterable[Mapping[str, Any]], pairs: Mapping[str, Any]) -> list[End]:
    """List base and post of every pair; one twice if results were made with different weights.

    Args:
        records: see `deltaedit.provenance.record`.
        pairs: those of the config, which name sources that a record knows by their folder only.
    """
    found: dict[End, None] = {}
    for record in records:
        for end in ("base", "post"):
            if end in record:
                said = pairs.get(record["pair"], {}).get(end) or record[end]
                sha256 = record[end].get("sha256", "")
                found[End(record["pair"], end, _source(said), sha256)] = None
    order = {pair: position for position, pair in enumerate(pairs)}
    return sorted(found, key=lambda one: (order.get(one.pair, len(order)), one.pair, one.end))


def _source(said: Mapping[str, Any]) -> str:
    match said:
        case {"repo": repo, "revision": revision}:
            return f"{repo}@{revision}"
        case {"source": "path", "path": path}:
            return str(path)
        case {"source": source, **rest}:
            more = (str(value) for key, value in rest.items() if key != "sha256" and value)
            return f"{source}: {', '.join(more)}"
        case _:
            return ""


def settings(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row per distinct way in which results were computed.

    Columns: results (how many and of which pairs), device, dtype, limit (documents per task), seed,
    one per package, commit; those that no record has are left out.
    """
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for record in records:
        groups.setdefault(tuple(_setting(record).items()), []).append(record["pair"])
    rows = []
    for setting, pairs in groups.items():
        many = f"{len(pairs)} of {cells.listed(dict.fromkeys(pairs))}"
        rows.append({"results": many, **dict(setting)})
    table = pd.DataFrame(rows)
    return table[[*(name for name in table if name != "commit"), "commit"]] if rows else table


def _setting(record: Mapping[str, Any]) -> dict[str, str]:
    inner = record.get("suite") or record.get("loss") or {}
    inner = inner if isinstance(inner, Mapping) else {}
    shown = {name: inner.get(name) for name in ("dtype", "limit")}
    known = {**shown, **record}
    found = {name: str(known[name]) for name in SETTINGS if known.get(name) is not None}
    return {**found, **record.get("versions", {}), "commit": _short(record)}


def _short(record: Mapping[str, Any]) -> str:
    """Return the first digits of a record's commit, and that files differed from it if they did."""
    commit, plus, changes = record.get("commit", "unknown").partition("+")
    return commit[:12] + plus + changes
