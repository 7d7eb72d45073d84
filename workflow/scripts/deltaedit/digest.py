"""Digests of source code and folders: what makes a result stale."""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
PLUMBING = ("errors.py", "logs.py", "provenance.py")  # carry words about results, decide none


def of_code(script: Path, extra: Iterable[str] = ()) -> str:
    """Return a short hash of a script and of every library module it stands on.

    Snakemake watches a script, but no module that it imports. This follows the imports of
    `deltaedit` through the sources, so a rule that has the hash among its `params` reruns when,
    and only when, code that it uses changes. `PLUMBING` is left out.

    Args:
        script: the script's path.
        extra: modules used without an import statement, such as "edits.dare".
    """
    found: set[Path] = set()
    pending = [script, *(_file(name.split(".")) for name in extra)]
    while pending:
        path = pending.pop()
        if path in found or path.name in PLUMBING:
            continue
        found.add(path)
        names = (parts for parts in _imported(path.read_text()) if parts[0] == PACKAGE.name)
        pending += [file for parts in names if (file := _file(parts[1:])).is_file()]
    total = hashlib.sha256()
    for path in sorted(found):
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()[:12]


@cache  # every rule's code stands on some of the same modules
def _imported(source: str) -> list[list[str]]:
    """List what the import statements of a module name, each as the parts of a dotted name."""
    return [parts for node in ast.walk(ast.parse(source)) for parts in _named(node)]


def _named(node: ast.AST) -> list[list[str]]:
    match node:
        case ast.Import(names=names):
            return [alias.name.split(".") for alias in names]
        case ast.ImportFrom(module=str(module), names=names, level=0):
            origin = module.split(".")
            return [origin, *([*origin, alias.name] for alias in names)]
        case _:
            return []


def _file(parts: list[str]) -> Path:
    path = PACKAGE.joinpath(*parts)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def of_files(paths: Iterable[Path]) -> str:
    """Return the sha256 of files' names and contents, read in pieces."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(path.name.encode())
        with path.open("rb") as stream:
            while piece := stream.read(1 << 22):
                total.update(piece)
    return total.hexdigest()
