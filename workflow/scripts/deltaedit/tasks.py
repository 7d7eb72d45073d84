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
    spec = _spec(path)
    metrics = [entry["metric"] for entry in spec["metric_list"]]
    if task["metric"] not in [*metrics, judge.METRIC]:
        raise ValueError(registry.unknown("metric", task["metric"], metrics))
    filters = [entry["name"] for entry in spec.get("filter_list", [{"name": "none"}])]
    if task["filter"] not in filters:
        raise ValueError(registry.unknown("filter", task["filter"], filters))


def check_code(name: str, allowed: bool) -> None:
    """Check that a task runs no code which the model wrote, or may and has it run in our sandbox.

    Raises:
        ValueError: it may not, or runs it by means of its own.
    """
    for file in _code_runners(name):
        if not allowed:
            raise ValueError(
                "runs code that the model writes; with allow_code_execution: true at the top of the"
                " config it is run, in a sandbox"
            )
        sources = file.parent.glob("*.py")
        if not any("code_eval" in source.read_text(encoding="utf-8") for source in sources):
            raise ValueError(
                f"runs code that the model writes by means of its own, outside of our sandbox; no"
                f" task of lm-eval's {file.parent.name!r} can be used"
            )


def runs_code(name: str) -> bool:
    """Whether a task, or one of a group or tag, runs code that the model wrote."""
    return bool(_code_runners(name))


@cache
def _code_runners(name: str) -> list[Path]:
    """Collect the files of a task, and of those in a group or tag, that say `unsafe_code: true`."""
    found, seen, pending = [], set(), [name]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        for file in [shipped()[name]] if name in shipped() else _harness().get(name, []):
            spec = _spec(file)
            found += [file] * bool(spec.get("unsafe_code"))
            pending += _members(spec)
    return found


def _members(spec: Mapping[str, Any]) -> list[str]:
    """List the names of a group's tasks, and of those in groups that it spells out."""
    stated = spec.get("task")
    if isinstance(stated, str):
        return [stated]
    parts = [part if isinstance(part, dict) else {"task": part} for part in stated or []]
    return [name for part in parts for name in _members(part)]


def _spec(path: Path) -> dict[str, Any]:
    """Read a task's file with those that it includes, as lm-eval does, functions unresolved."""
    spec = yaml.load(path.read_text(encoding="utf-8"), Loader=_Plain)
    included = spec.pop("include", [])
    merged: dict[str, Any] = {}
    for other in [included] if isinstance(included, str) else included:
        merged |= _spec(path.parent / other)
    return merged | spec


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
def _harness() -> dict[str, list[Path]]:
    """Return lm-eval's tasks, groups and tags: name -> the YAML files that declare or bear it."""
    root = Path(find_spec("lm_eval").origin).parent / "tasks"
    declared = re.compile(r"^(?:task|group|tag):\s*[\"']?([\w.-]+)[\"']?\s*$", re.MULTILINE)
    found: dict[str, list[Path]] = {}
    for path in root.rglob("*.yaml"):
        for name in {path.stem, *declared.findall(path.read_text(encoding="utf-8"))}:
            found.setdefault(name, []).append(path)
    return found
