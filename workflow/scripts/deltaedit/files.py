"""Files and folders that are whole or absent."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WEIGHTS = "model.safetensors"  # the weights of a checkpoint in Hugging Face layout
INDEX = "model.safetensors.index.json"  # or which shard holds which tensor


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it to `path` when the block ends well.

    A job that is killed leaves the unfinished file under its own name, `.{name}.partial`,
    which the next attempt replaces. A block that raises leaves nothing.
    """
    with _partial(Path(path)) as partial:
        yield partial
        _share(partial)
        partial.replace(path)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` to fill; rename it to `path` when the block ends well.

    What stood at `path` before is replaced. Otherwise as `whole_file`.
    """
    with _partial(Path(path)) as partial:
        partial.mkdir()
        yield partial
        for file in partial.rglob("*"):
            _share(file)
        _remove(Path(path))
        partial.rename(path)


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    _remove(partial)
    try:
        yield partial
    finally:
        _remove(partial)


def _share(file: Path) -> None:
    """Give a file the permissions that new files have; some libraries write for the owner only."""
    mask = os.umask(0)
    os.umask(mask)
    if file.is_file():
        file.chmod(0o666 & ~mask)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Place `source`'s content at `target`: a hard link on one file system, a copy across two."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all; NaN is refused."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with whole_file(path) as partial:
        partial.write_text(text)
