"""Measurements, kept as they are made so that none is made twice.

A job that is killed, or that runs again because temporary checkpoints had to be made again, finds
here what it measured on the same weights with the same code. What is kept is a unit of the work on
a checkpoint: a task, a node. A function that works unit by unit takes a `Keep`.
"""

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
# keep(unit, make) returns make(), or what it returned for the same unit before; the unit, as JSON,
# is all that tells the value apart from others of the same work.
Keep = Callable[[Mapping[str, Any], Callable[[], Any]], Any]

log = logging.getLogger(__name__)


def recall(folder: str | Path, key: Mapping[str, Any], make: Callable[[], T]) -> T:
    """Return `make()`, or what it returned when it was last called with the same `key`.

    Args:
        folder: where values are kept, one file each.
        key: everything the value depends on, as JSON.
        make: called if nothing is kept; its value is plain JSON, with NaN and infinity allowed
            (the loss of a ruined model).
    """
    text = json.dumps(key, sort_keys=True)
    path = Path(folder) / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"
    if path.exists():
        log.info("recalled %s", path)
        return json.loads(path.read_text())["value"]
    value = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    # In a folder of its own: another job may be making the same value.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as own:
        partial = Path(own, path.name)
        partial.write_text(json.dumps({"key": key, "value": value}))
        partial.replace(path)
    return value


def keeper(folder: str | Path, shared: Mapping[str, Any]) -> Keep:
    """Return a `Keep` that recalls from `folder`, by what all units share and what each adds."""
    return lambda unit, make: recall(folder, {**shared, **unit}, make)


def anew(unit: Mapping[str, Any], make: Callable[[], T]) -> T:
    """Return `make()`: a `Keep` that keeps nothing."""
    return make()
