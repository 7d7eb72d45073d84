"""Find evaluation tasks without importing lm-eval, whose own index takes seconds to build."""

import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

from deltaedit import judge, registry

SHIPPED = Path(__file__).parents[2] / "tasks"  # workflow/tasks, each task in {name}.yaml
# Tasks of lm-eval's, by the start of their names, whose packages are an extra of lm-eval.
EXTRAS = {
    "ifeval": "ifeval",
    "leaderboard_ifeval": "ifeval",
    "minerva_math": "math",
    "leaderboard_math": "math",
}
OF_SENTENCES = ("ifeval", "leaderboard_ifeval")
GROUP_METRICS = "aggregate_metric_list"


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
    if any(key != "tag" for key, _ in _harness().get(name, [])):
        return None
    meant = registry.unknown_among("task", name, [*shipped(), *_harness()])
    raise ValueError(
        f"{meant} Known are those of workflow/tasks and lm-eval's, which `lm_eval ls tasks` lists"
    )


def check(name: str, task: Mapping[str, Any], root: Path) -> None:
    """Check what a suite says of a task: `metric`, `filter`, `num_fewshot` and `data`.

    Of lm-eval's own tasks, that they take no `data`; the rest is checked when they have run.

    Raises:
        ValueError: the first mistake found.
    """
    _check_data(name, task, root)
    if find(name) is None:
        return
    spec, *members = _specs(name)
    metrics = [entry["metric"] for entry in spec.get("metric_list") or spec[GROUP_METRICS]]
    if task["metric"] not in [*metrics, judge.METRIC]:
        raise ValueError(registry.unknown("metric", task["metric"], metrics))
    filters = [entry["name"] for entry in spec.get("filter_list", [{"name": "none"}])]
    if task["filter"] not in filters:
        raise ValueError(registry.unknown("filter", task["filter"], filters))
    for part in [spec, *members]:
        if part.get("num_fewshot") == 0 and task["num_fewshot"]:
            raise ValueError(f"num_fewshot: must be 0, got {task['num_fewshot']}")


def check_packages(name: str) -> None:
    """Check that the packages are installed that a task needs and the environment may lack.

    Raises:
        ValueError: which are missing, or of another version, and the command that installs them.
    """
    if name not in shipped():
        _require(*_extra(name))
        return
    for part in _specs(name):
        if pins := part.get("metadata", {}).get("requirements"):
            _require(*_pinned(pins))


def _check_data(name: str, task: Mapping[str, Any], root: Path) -> None:
    wanted = _data(name)
    if not wanted and "data" in task:
        raise ValueError("takes no data")
    if wanted and "data" not in task:
        known = " and ".join(each["file"] for each in wanted)
        raise ValueError(f"needs data: FOLDER with {known} ({wanted[0]['source']})")
    if wanted:
        folder = data_folder(task["data"], root)
        if missing := next((f for f in data_files(name, folder) if not f.is_file()), None):
            raise ValueError(f"data: no file {str(missing)!r} ({wanted[0]['source']})")


def data_folder(name: str, root: Path) -> Path:
    """Find a folder in the working folder or in the project's; ValueError if in neither."""
    for path in (Path(name), root / name):
        if path.is_dir():
            return path
    raise ValueError(f"data: no folder {name!r} in {Path.cwd()} or {root}")


def data_files(name: str, folder: Path) -> list[Path]:
    """List the files that a task reads from the folder that a suite names as its data."""
    return [folder / each["file"] for each in _data(name)]


def _data(name: str) -> list[dict[str, Any]]:
    """Return `file` and `source` of the data that a task of the project's does not come with."""
    specs = _specs(name) if name in shipped() else []
    stated = [spec.get("metadata", {}) for spec in specs]
    return [each for each in stated if "file" in each]


def files(names: list[str]) -> list[Path]:
    """List the files that the project's own tasks among `names` are made of."""
    texts = {path for name in names if name in shipped() for path in _yamls(name)}
    beside = {file for path in texts for file in path.parent.glob("*.*")}
    return sorted(texts | {file for file in beside if file.suffix in (".py", ".jsonl")})


def _yamls(name: str) -> list[Path]:
    """List the YAML files of a task, with what they include, or of a group and its members."""
    path = shipped()[name]
    members = [file for member in _members(_spec(path)) for file in _yamls(member)]
    return [*_with_included(path), *members]


def _specs(name: str) -> list[dict[str, Any]]:
    """Return what the YAML file of a task says, of a group also what those of its members say."""
    spec = _spec(shipped()[name])
    return [spec, *(part for member in _members(spec) for part in _specs(member))]


def _members(spec: Mapping[str, Any]) -> list[str]:
    """List the names of a group's tasks, and of those in groups that it spells out."""
    if "group" not in spec:
        return []
    stated = [spec["task"]] if isinstance(spec["task"], str) else spec["task"]
    parts = [{"task": part} if isinstance(part, str) else part for part in stated]
    return [
        name for part in parts for name in (_members(part) if "group" in part else [part["task"]])
    ]


def _spec(path: Path) -> dict[str, Any]:
    """Return what a task's file says with those that it includes, functions unresolved."""
    merged: dict[str, Any] = {}
    for file in reversed(_with_included(path)):
        merged |= _read(file)
    return {key: value for key, value in merged.items() if key != "include"}


def _with_included(path: Path) -> list[Path]:
    """List a task's file and those that it includes, what overrides before what it overrides."""
    included = _read(path).get("include", [])
    names = [included] if isinstance(included, str) else included
    return [
        path,
        *(file for name in reversed(names) for file in _with_included(path.parent / name)),
    ]


@cache
def _read(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_Plain)


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
        known = [shipped()[name]] if name in shipped() else [f for _, f in _harness().get(name, [])]
        for file in known:
            spec = _spec(file)
            found += [file] * bool(spec.get("unsafe_code"))
            pending += _members(spec)
    return found


class _Plain(yaml.SafeLoader):
    """Reads lm-eval's `!function module.name` as the text it is."""


_Plain.add_constructor("!function", lambda loader, node: node.value)


def _extra(name: str) -> tuple[list[Requirement], str]:
    """Return the packages that a task of lm-eval's needs beyond lm-eval, and what installs them."""
    extra = next((extra for start, extra in EXTRAS.items() if name.startswith(start)), None)
    if extra is None:
        return [], ""
    stated = [Requirement(line) for line in metadata.requires("lm_eval") or []]
    needed = [each for each in stated if each.marker and each.marker.evaluate({"extra": extra})]
    return needed, f"'lm_eval[{extra}]=={metadata.version('lm_eval')}'"


def _pinned(file: str) -> tuple[list[Requirement], str]:
    """Return the pins of a requirements file of the project's, and what installs them."""
    path = SHIPPED.parents[1] / file
    lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
    return [Requirement(line) for line in lines], f"--no-deps -r {path}"


def _require(needed: list[Requirement], what: str) -> None:
    if lacking := [each for each in needed if not _is_installed(each)]:
        named = ", ".join(f"{each.name}{each.specifier}" for each in lacking)
        raise ValueError(f"needs {named}; run: {sys.executable} -m pip install {what}")


def _is_installed(package: Requirement) -> bool:
    try:
        return package.specifier.contains(metadata.version(package.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


@cache
def _harness() -> dict[str, list[tuple[str, Path]]]:
    """Return lm-eval's names: each with the YAML files that declare it as a task, group or tag.

    A tag stands for tasks and has no score.
    """
    root = Path(find_spec("lm_eval").origin).parent / "tasks"
    declared = re.compile(r"^(task|group|tag):\s*[\"']?([\w.-]+)[\"']?\s*$", re.MULTILINE)
    found: dict[str, list[tuple[str, Path]]] = {}
    for path in root.rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        for key, name in {("task", path.stem), *declared.findall(text)}:
            found.setdefault(name, []).append((key, path))
    return found
