"""Where a job's words go: all to its log file, its progress also to the terminal."""

import logging
import os
import sys
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import TextIO, TypeVar

from tqdm import tqdm

from deltaedit.errors import UserError

T = TypeVar("T")

_terminal: TextIO = sys.stderr  # what the user sees; kept apart once a job logs to a file


def to_file(path: str) -> None:
    """Send descriptors 1 and 2 to `path`, so that imports, CUDA and child processes log too.

    Progress bars and a last word on a failure still reach the terminal (or the cluster's log).
    """
    global _terminal
    _terminal = os.fdopen(os.dup(2), "w", buffering=1)
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(target, 1)
    os.dup2(target, 2)
    logging.basicConfig(level="INFO", format="%(asctime)s %(name)s %(message)s")
    sys.excepthook = _report


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log why the job failed, and say it in one line on the terminal."""
    if not isinstance(error, UserError):
        traceback.print_exception(kind, error, trace)
    name = "" if isinstance(error, UserError) else f"{kind.__name__}: "
    line = f"error: {name}{error}".splitlines()[0]
    print(line, file=sys.stderr, flush=True)
    print(line, file=_terminal, flush=True)


def note(line: str) -> None:
    """Say something worth knowing, in the log and on the terminal."""
    logging.getLogger("deltaedit").info(line)
    if _terminal is not sys.stderr:
        print(line, file=_terminal, flush=True)


class _Lines:
    """A file for tqdm that ends each bar with a new line: jobs run side by side, logs are kept."""

    def write(self, text: str) -> None:
        if text := text.strip("\r\n"):
            print(text, file=_terminal, flush=True)

    def flush(self) -> None:
        _terminal.flush()


def progress(items: Iterable[T], label: str, *, total: int | None = None) -> Iterable[T]:
    """Yield `items`, printing a bar with `label`, count and time left at most every 5 seconds."""
    return tqdm(
        items,
        desc=label,
        total=total,
        file=_Lines(),
        mininterval=5,
        ncols=100,
        ascii=" #",
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]",
    )
