"""Check a config before the first job: every mistake is one line that says where and what."""

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from deltaedit import (
    edits,
    figures,
    formats,
    gguf,
    image_study,
    image_tasks,
    judge,
    losses,
    quadrature,
    registry,
    study,
    sweeps,
    tables,
    tasks,
)
from deltaedit.errors import UserError
from deltaedit.sweeps import Variant

# What names a source that is made here, and what that is.
MADE = {"world": "world", "name": "continued training", "file": "GGUF file"}
SCHEMA = Path(__file__).parents[2] / "schemas" / "config.schema.yaml"
PLURALS = {"suite": "suites", "loss": "losses"}


class ConfigError(UserError):
    """A mistake of the user's; the message is one line: the place, what was found, the allowed."""


def check(
    config: dict[str, Any], files: Iterable[str | Path], root: Path, *, whole: bool = True
) -> None:
    """Check `config` and fill in its defaults, in place.

    Args:
        config: the merged configuration.
        files: the files it came from; read again, since YAML drops a repeated key in silence.
        root: the project's folder, where data files are looked for last.
        whole: also check what the schema cannot, which imports all that the config names.

    Raises:
        ConfigError: the first mistake found.
    """
    files = [Path(file) for file in files]
    place = " + ".join(file.name for file in files) or "config"
    try:
        for file in files:
            _refuse_repeated_keys(file)
        _check_grammar(config)
        for suite in config["suites"].values():
            suite["limit"] = suite["limit"] or config["limit"]
        if whole:
            _check_references(config, root)
    except ValueError as error:
        raise ConfigError(f"{place}, {error}") from None


def check_installed(config: Mapping[str, Any]) -> None:
    """Check that the packages are installed which a checked config needs beside the environment.

    A plan can be made without them.

    Raises:
        UserError: the first that is missing, and the command that installs it.
    """
    for name, suite in config["suites"].items():
        for task in suite["tasks"]:
            try:
                with_place(f"suites.{name}.tasks.{task}", tasks.check_packages, task)
            except ValueError as error:
                raise ConfigError(str(error)) from None
    for source in study.gguf_sources(config).values():
        gguf.locate(source)


def _refuse_repeated_keys(file: Path) -> None:
    def walk(node: yaml.Node, path: str) -> None:
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                here = f"{path}.{key.value}".lstrip(".")
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise ValueError(f"line {line}, {here}: stands twice; give one another name")
                seen.add(key.value)
                walk(value, here)
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                walk(value, f"{path}[{i}]")

    root = yaml.compose(file.read_text(), Loader=yaml.SafeLoader)
    if root is not None:
        walk(root, "")


def _check_grammar(config: dict[str, Any]) -> None:
    schema = yaml.safe_load(SCHEMA.read_text())
    validator = extend(Draft202012Validator, {"properties": _fill_defaults})(schema)
    errors = sorted(validator.iter_errors(config), key=lambda error: len(error.absolute_path))
    if errors:
        raise ValueError(_in_one_line(errors[0]))


def _fill_defaults(validator: Any, properties: Any, instance: Any, schema: Any) -> Any:
    if isinstance(instance, dict):
        for name, subschema in properties.items():
            if isinstance(subschema, dict) and "default" in subschema:
                default = subschema["default"]
                instance.setdefault(name, default.copy() if hasattr(default, "copy") else default)
    yield from Draft202012Validator.VALIDATORS["properties"](
        validator, properties, instance, schema
    )


def _in_one_line(error: ValidationError) -> str:
    """Say where, what was found and what is allowed."""
    place = _dotted(error.absolute_path)
    found, allowed = error.instance, error.schema.get("description", "")
    match error.validator:
        case "additionalProperties":
            known = error.schema["properties"]
            wrong = next(key for key in found if key not in known)
            return f"{place}: {registry.unknown('key', wrong, known)}"
        case "required":
            missing = next(key for key in error.validator_value if key not in found)
            return f"{place}: {missing!r} is missing"
        case "enum":
            known = ("null" if value is None else str(value) for value in error.validator_value)
            return f"{place}: {registry.unknown('value', found, known)}"
        case "not":
            return f"{place}: the name {found!r} is reserved"
        case "minItems" | "minProperties" if not found:
            return f"{place}: is empty; " + (allowed or "give at least one entry")
        case "uniqueItems":
            return f"{place}: {found!r} names something twice"
        case "type" if not allowed:
            allowed = f"a value of type {error.validator_value}"
    return f"{place}: got {found!r}, must be {allowed}"


def _dotted(path: Iterable[str | int]) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).lstrip(".") or "top level"


def _check_references(config: Mapping[str, Any], root: Path) -> None:
    """Check what a schema cannot: names that refer to others, and options of modules."""
    for name, spec in config["continued"].items():
        _check_continued(f"continued.{name}", spec, config, root)
    with_place("sources", study.gguf_sources, config)
    for name, pair in config["pairs"].items():
        for end in ("base", "post"):
            kind = _check_source(f"pairs.{name}.{end}", pair[end], config)
            if kind not in (None, pair["kind"]):
                key = next(key for key in MADE if key in pair[end])
                made = f"the {MADE[key]} {pair[end][key]!r}"
                raise ValueError(f"pairs.{name}.kind: must be {kind} for {made}")
    for name, sweep in config["sweeps"].items():
        place = f"sweeps.{name}"
        slices = with_place(place, sweeps.slices, name, sweep, config["seed"])
        _check_sources(place, sweep, slices, config)
    for name, suite in config["suites"].items():
        _check_suite(f"suites.{name}.tasks", suite["tasks"], root)
        for task, spec in suite["tasks"].items():
            place = f"suites.{name}.tasks.{task}"
            with_place(place, tasks.check_code, task, config["allow_code_execution"])
            _check_judge(place, spec, config["judges"])
        _check_backend(f"suites.{name}", suite)
    for name, spec in config["judges"].items():
        with_place(f"judges.{name}.document", data_file, spec["document"], root)
    for name, loss in config["losses"].items():
        place = f"losses.{name}"
        with_place(place, losses.parse, loss["kind"], loss["options"])
        for rule in loss["quadrature"]:
            with_place(place, quadrature.rule, rule, loss["intervals"])
        _check_data(f"{place}.data", loss, root)
    for task, split in image_study.splits(config):
        image_study.images_of(config, task, split)
    for i, run in enumerate(config["runs"]):
        _known(f"runs[{i}].pair", "pair", run["pair"], config["pairs"])
        for noun in ("sweep", "suite", "loss"):
            key = "losses" if noun == "loss" else f"{noun}s"
            for name in run[key]:
                _known(f"runs[{i}].{key}", noun, name, config[key])
        _check_kind(f"runs[{i}]", run, config)
        if not run["suites"] and not run["losses"]:
            raise ValueError(f"runs[{i}]: measures nothing; give suites, losses or both")
    for name, pairs in config["comparisons"].items():
        _check_comparison(f"comparisons.{name}", pairs, config["pairs"])
    for section, kinds in (("figures", figures), ("tables", tables)):
        for name, spec in config[section].items():
            _check_drawing(f"{section}.{name}", spec, kinds, config)


def _check_continued(
    place: str, spec: Mapping[str, Any], config: Mapping[str, Any], root: Path
) -> None:
    """Check what a continued training starts from and reads."""
    start = spec["start"]
    if start["source"] == "continued" or (start["source"] == "demo" and "start" in start):
        raise ValueError(f"{place}.start: stands on a continued training itself; name another")
    if _check_source(f"{place}.start", start, config) not in (None, "causal_lm"):
        raise ValueError(f"{place}.start: must be a causal_lm, of the world 'language'")
    with_place(f"{place}.data", data_file, spec["data"], root)


def _check_source(place: str, stated: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """Check that a source is there or can be made; return the kind of what is made."""
    match stated:
        case {"source": "path", "path": folder} if not Path(folder).expanduser().is_dir():
            raise ValueError(f"{place}: no folder {folder!r} in {Path.cwd()}")
        case {"source": "gguf"}:
            if "package" not in stated:
                with_place(f"{place}.file", gguf.locate, stated)
            return "causal_lm"
        case {"source": "continued", "name": name}:
            _known(f"{place}.name", "continued training", name, config["continued"])
            return "causal_lm"
        case {"source": "demo", "world": world, "stage": stage, **rest}:
            if "start" in rest:
                _check_start(f"{place}.start", world, stage, rest["start"], config["continued"])
            return study.WORLDS[world]
    return None


def _check_start(
    place: str, world: str, stage: str, name: str, continued: Mapping[str, Any]
) -> None:
    """Check that a stage of the demo can train on a continued training."""
    _known(place, "continued training", name, continued)
    if stage not in study.STARTS[world]:
        raise ValueError(f"{place}: the stage {stage!r} trains on no other")
    if continued[name]["start"].get("world") != world:
        raise ValueError(f"{place}: {name!r} starts from no checkpoint of the world {world!r}")


def _check_sources(
    place: str, sweep: Mapping[str, Any], slices: Mapping[str, list[Variant]], config: Mapping
) -> None:
    """Check what a sweep takes beside its pair, and the forms it is stored in."""
    names = sweeps.methods(sweep)
    for key, argument, enough in (
        ("gradient", "gradient", any),
        ("deltas", "deltas", any),
        ("onto", "deltas", all),
    ):
        takes = {name: edits.takes(edits.load(name), argument) for name in names}
        if key in sweep and not enough(takes.values()):
            wrong = next(name for name in names if not takes[name])
            raise ValueError(f"{place}.{key}: {wrong} does not take it")
    for key, noun, plural in (("gradient", "loss", "losses"), ("onto", "pair", "pairs")):
        if key in sweep:
            _known(f"{place}.{key}", noun, sweep[key], config[plural])
    for pair in sweep.get("deltas", []):
        _known(f"{place}.deltas", "pair", pair, config["pairs"])
    for variant in chain(*slices.values()):
        method, params = edits.parse(variant.method, variant.options)
        if getattr(params, "by", "") == "product" and "gradient" not in sweep:
            raise ValueError(
                f"{place}: by: product needs the gradient of a loss, as gradient: NAME"
            )
        weights, deltas = getattr(params, "weights", None), 1 + len(sweep.get("deltas", []))
        if weights is not None and len(weights) != deltas:
            raise ValueError(
                f"{place}: weights has {len(weights)} numbers, but there are {deltas} deltas, the"
                " pair's own and those of deltas"
            )
        with_place(f"{place}.formats", formats.check, sweep["formats"], method, params)


def _check_suite(place: str, specs: Mapping[str, Mapping[str, Any]], root: Path) -> None:
    """Check that the tasks of a suite exist, are all of texts or all of images, and report it."""
    of_images = [task for task in specs if task in image_tasks.names()]
    if of_images and len(of_images) < len(specs):
        other = next(task for task in specs if task not in of_images)
        raise ValueError(
            f"{place}: {of_images[0]!r} is of images, {other!r} is not; make two suites"
        )
    for task, spec in specs.items():
        if not of_images:
            with_place(place, tasks.find, task)
            with_place(f"{place}.{task}", tasks.check, task, spec, root)
            if spec["revision"]:
                raise ValueError(f"{place}.{task}.revision: only image tasks have one")
        elif spec["metric"] != image_tasks.METRIC:
            known = registry.unknown("metric", spec["metric"], [image_tasks.METRIC])
            raise ValueError(f"{place}.{task}: {known}")
        elif spec["num_fewshot"] or spec["filter"] != "none" or "data" in spec:
            raise ValueError(f"{place}.{task}: an image task has no num_fewshot, filter or data")
        else:
            split = image_tasks.load(task).split
            with_place(f"{place}.{task}", image_study.images, task, split, spec["revision"])


def _check_judge(place: str, spec: Mapping[str, Any], judges: Mapping[str, Any]) -> None:
    """Check that a task has a judge if it is judged, and none else."""
    if "judge" in spec:
        _known(f"{place}.judge", "judge", spec["judge"], judges)
    if (spec["metric"] == judge.METRIC) is not ("judge" in spec):
        raise ValueError(
            f"{place}: the metric {judge.METRIC!r} and a judge belong together; give both or none"
        )


def _check_backend(place: str, suite: Mapping[str, Any]) -> None:
    """Check that a suite of images asks for nothing that is lm-eval's."""
    for key, only in (("backend", "hf"), ("chat_template", False)):
        if _of(suite) == "images" and suite[key] != only:
            raise ValueError(f"{place}.{key}: got {suite[key]!r}, but a suite of images has none")
    if _of(suite) == "images" and suite["batch_size"] == "auto":
        raise ValueError(f"{place}.batch_size: must be a whole number in a suite of images")


def _check_data(place: str, loss: Mapping[str, Any], root: Path) -> None:
    """Check that the data of a loss are of its kind, and exist if they are on this machine."""
    data, wanted = loss["data"], losses.load(loss["kind"]).DATA
    if image_study.asks_images(loss) is not (wanted == "images"):
        told = {"images": "an image task and a split", "texts": "a file or a data set of the hub"}
        raise ValueError(f"{place}: {loss['kind']} needs {told[wanted]}")
    if isinstance(data, str):
        with_place(place, data_file, data, root)
    elif wanted == "images":
        with_place(place, image_study.images, **data)


def _check_kind(place: str, run: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Check that a run measures its pair by what its models read, and stores it as they can."""
    kind = config["pairs"][run["pair"]]["kind"]
    reads = "images" if kind in image_tasks.KINDS else "texts"
    measured = {("suites", name): _of(config["suites"][name]) for name in run["suites"]}
    gradients = [config["sweeps"][name].get("gradient") for name in run["sweeps"]]
    measured |= {
        (plural, name): losses.load(config["losses"][name]["kind"]).DATA
        for plural, names in (("losses", run["losses"]), ("sweeps, gradient", gradients))
        for name in filter(None, names)
    }
    for (plural, name), data in measured.items():
        if data != reads:
            raise ValueError(
                f"{place}.{plural}: {name!r} is of {data}, but the models of {run['pair']!r}, a"
                f" {kind} pair, read {reads}"
            )
    for name in run["sweeps"]:
        if reads == "images" and "adapter" in config["sweeps"][name]["formats"]:
            raise ValueError(
                f"{place}.sweeps: {name!r} has the format 'adapter', which is for causal_lm pairs,"
                f" but {run['pair']!r} is a {kind} pair"
            )


def _check_comparison(place: str, names: list[str], pairs: Mapping[str, Any]) -> None:
    """Check that the pairs of a comparison exist and are of one kind."""
    for name in names:
        _known(place, "pair", name, pairs)
        if (kind := pairs[name]["kind"]) != (first := pairs[names[0]]["kind"]):
            raise ValueError(
                f"{place}: {names[0]!r} is a {first} pair, {name!r} a {kind} pair; deltas are"
                " compared between pairs of one architecture"
            )


def _of(suite: Mapping[str, Any]) -> str:
    return "images" if set(suite["tasks"]) <= set(image_tasks.names()) else "texts"


def _check_drawing(
    place: str, spec: Mapping[str, Any], kinds: ModuleType, config: Mapping[str, Any]
) -> None:
    """Check a figure or a table, by the registry of its kinds."""
    module, _ = with_place(place, kinds.parse, spec["kind"], spec["options"])
    compares = "comparison" in module.MEASURES
    asked = {*module.MEASURES} if compares else {*module.MEASURES, "pair"}
    allowed = asked if compares else {*asked, "sweeps"}
    for key in ("pair", "sweeps", "suite", "loss", "comparison"):
        if key in asked and key not in spec:
            raise ValueError(f"{place}: {key!r} is missing; {spec['kind']} draws one")
        if key in spec and key not in allowed:
            raise ValueError(f"{place}: {key!r} does not belong to {spec['kind']}")
    if compares:
        _known(f"{place}.comparison", "comparison", spec["comparison"], config["comparisons"])
    for measure in PLURALS:
        if measure in module.MEASURES:
            with_place(f"{place}.{measure}", study.in_step, spec, measure)
            _check_drawn(place, spec, measure, config, "onto" in module.MEASURES)
    if "size" in module.MEASURES and not any(
        "/sizes/" in file for file in study.drawn(config, spec, module.MEASURES)
    ):
        raise ValueError(
            f"{place}: no sweep of it is stored in a compact form; give one formats, such as sparse"
        )
    if "onto" in module.MEASURES and not any(
        "onto" in config["sweeps"][sweep]
        for panel in study.panels(spec)
        for measure, plural in PLURALS.items()
        if measure in panel
        for sweep in study.drawn_sweeps(config, spec, panel["pair"], plural, panel[measure])
    ):
        raise ValueError(f"{place}: no sweep of it is put onto another base; give one onto: PAIR")


def _check_drawn(
    place: str, figure: Mapping[str, Any], measure: str, config: Mapping[str, Any], ends_too: bool
) -> None:
    """Check that a figure's pairs are measured by its suite or loss, and its sweeps among them.

    With `ends_too` a pair may have no sweep of the figure: its base and post alone are drawn.
    """
    plural = PLURALS[measure]
    for sweep in figure.get("sweeps", []):
        _known(f"{place}.sweeps", "sweep", sweep, config["sweeps"])
    drawn = set()
    for panel in study.panels(figure):
        pair, name = panel["pair"], panel[measure]
        _known(f"{place}.pair", "pair", pair, config["pairs"])
        _known(f"{place}.{measure}", measure, name, config[plural])
        chosen = study.drawn_sweeps(config, figure, pair, plural, name)
        if not chosen and not ends_too:
            raise ValueError(
                f"{place}: no sweep of the figure is run on pair {pair!r} with {measure} {name!r};"
                " add it to runs"
            )
        drawn |= set(chosen)
    for sweep in figure.get("sweeps", []):
        if sweep not in drawn:
            raise ValueError(
                f"{place}.sweeps: sweep {sweep!r} is not run on the figure's pairs with its"
                f" {measure}; add it to runs"
            )


def _known(place: str, noun: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise ValueError(f"{place}: {registry.unknown(noun, name, known)}")


def with_place(place: str, function: Any, *args: Any, **named: Any) -> Any:
    """Call `function`; put `place` before the message of a ValueError it raises."""
    try:
        return function(*args, **named)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def data_file(name: str, root: Path) -> Path:
    """Find a data file in the working folder or in the project's; ValueError if in neither."""
    for path in (Path(name), root / name):
        if path.is_file():
            return path
    raise ValueError(f"no file {name!r} in {Path.cwd()} or {root}")
