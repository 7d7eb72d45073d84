"""Measurements, kept as they are made so that none is made twice.

A job that is killed, or that runs again because temporary checkpoints had to be made again, finds
here what it measured on the same weights with the same code.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from deltaedit.files import whole_file

T = TypeVar("T")

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
    with whole_file(path) as partial:
        partial.write_text(json.dumps({"key": key, "value": value}))
    return value
