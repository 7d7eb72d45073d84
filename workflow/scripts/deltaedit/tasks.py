"""Find evaluation tasks without importing lm-eval, whose own index takes seconds to build."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from deltaedit import judge, registry

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


def check(name: str, task: Mapping[str, Any]) -> None:
    """Check that a task of the project's reports the `metric` and has the `filter` of a suite.

    Raises:
        ValueError: it does not; lm-eval's own tasks are checked when they have run.
    """
    path = find(name)
    if path is None:
        return
    spec = yaml.load(path.read_text(), Loader=_Plain)
    metrics = [entry["metric"] for entry in spec["metric_list"]]
    if task["metric"] not in [*metrics, judge.METRIC]:
        raise ValueError(registry.unknown("metric", task["metric"], metrics))
    filters = [entry["name"] for entry in spec.get("filter_list", [{"name": "none"}])]
    if task["filter"] not in filters:
        raise ValueError(registry.unknown("filter", task["filter"], filters))


class _Plain(yaml.SafeLoader):
    """Reads lm-eval's `!function module.name` as the text it is."""


_Plain.add_constructor("!function", lambda loader, node: node.value)


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
