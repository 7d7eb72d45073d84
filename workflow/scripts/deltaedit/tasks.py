"""Find evaluation tasks without importing lm-eval, whose own index takes seconds to build."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from deltaedit import registry

SHIPPED = Path(__file__).parents[2] / "tasks"  # workflow/tasks, each task in {name}.yaml


def shipped() -> dict[str, Path]:
    """Return the project's own tasks: name -> its YAML file."""
    return {path.stem: path for path in sorted(SHIPPED.rglob("*.yaml"))}


def find(name: str) -> Path | None:
    """Return the file of a task of the project's, None for one of lm-eval's own.

    Raises:
        ValueError: neither has a task of that name.
    """
    if name in shipped():
        return shipped()[name]
    if name in _harness():
        return None
    raise ValueError(registry.unknown("task", name, shipped()) + "; or any task of lm-eval's")


def files(names: list[str]) -> list[Path]:
    """List the files that the project's own tasks among `names` are made of."""
    folders = {path.parent for name in names if (path := shipped().get(name))}
    return sorted(
        file
        for folder in folders
        for file in folder.iterdir()
        if file.suffix in (".py", ".jsonl") or file.stem in names
    )


@cache
def _harness() -> set[str]:
    """Collect the names of lm-eval's tasks, groups and tags from its YAML files."""
    root = Path(find_spec("lm_eval").origin).parent / "tasks"
    declared = re.compile(r"^(?:task|group|tag):\s*[\"']?([\w.-]+)[\"']?\s*$", re.MULTILINE)
    found: set[str] = set()
    for path in root.rglob("*.yaml"):
        found.add(path.stem)
        found.update(declared.findall(path.read_text(encoding="utf-8")))
    return found
