"""What a checked config asks for: the files of its runs and the variants behind each."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deltaedit import edits, registry, sweeps
from deltaedit.sweeps import ENDS, WHOLE

Config = Mapping[str, Any]

NOTHING = "(?!)"  # as a regular expression
WORLDS = {"language": "causal_lm", "vision": "clip"}  # of the demo: the kind of their pairs
STARTS = {  # of the demo: world -> stage -> the stage that it trains on
    "language": {
        "sft": "pretrained",
        "sft_early": "pretrained",
        "specific": "pretrained",
        "dpo": "sft",
    },
    "vision": {"digits": "pretrained", "signs": "pretrained"},
}


def demo_start(world: str, stage: str) -> list[str]:
    """Return the folder of the checkpoint that a stage of the demo trains on, if on any."""
    start = STARTS[world].get(stage)
    return [f"resources/demo/{world}/{start}"] if start else []


def source(config: Config, pair: str, end: str) -> dict[str, Any]:
    """Return where a checkpoint comes from; one that is made here is the path of its folder."""
    return place(config["pairs"][pair][end])


def source_files(config: Config, pair: str, end: str) -> list[str]:
    """Return what a download reads on this machine, see `place_files`."""
    return place_files(config["pairs"][pair][end])


def place(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return where a source of the config is; what is made here is the path of its folder."""
    made = _made(stated)
    return {"source": "path", "path": made} if made else dict(stated)


def place_files(stated: Mapping[str, Any]) -> list[str]:
    """Return what a source has on this machine: the folder made here, or a path's files."""
    if made := _made(stated):
        return [made]
    if stated["source"] == "path":
        files = Path(stated["path"]).expanduser().iterdir()
        read = (".safetensors", ".json", ".jinja")  # the last is a chat template
        return sorted(str(file) for file in files if file.suffix in read)
    return []


def _made(stated: Mapping[str, Any]) -> str:
    match stated:
        case {"source": "demo", "world": world, "stage": stage, "start": start}:
            return f"resources/demo/{world}/on/{start}/{stage}"
        case {"source": "demo", "world": world, "stage": stage}:
            return f"resources/demo/{world}/{stage}"
        case {"source": "continued", "name": name}:
            return f"resources/continued/{name}/model"
        case {"source": "gguf", "file": file}:
            return f"resources/gguf/{Path(file).stem}"
    return ""


def gguf_sources(config: Config) -> dict[str, dict[str, Any]]:
    """Return the sources that are GGUF files, by the name of the folder each is unpacked into.

    Raises:
        ValueError: two different files with one name.
    """
    stated = [pair[end] for pair in config["pairs"].values() for end in ("base", "post")]
    stated += [spec["start"] for spec in config["continued"].values()]
    found: dict[str, dict[str, Any]] = {}
    for source in stated:
        if source["source"] != "gguf":
            continue
        known = found.setdefault(Path(source["file"]).stem, dict(source))
        if known != source:
            raise ValueError(
                f"{_place_of(known)} and {_place_of(source)} are two files of one name; rename one"
            )
    return found


def _place_of(source: Mapping[str, str]) -> str:
    return " in ".join(source[key] for key in ("file", "package") if key in source)


def continued(config: Config, name: str) -> dict[str, Any]:
    """Return the recipe of a continued training; its seed is the study's if it has no own."""
    stated = config["continued"][name]
    recipe = {key: value for key, value in stated.items() if key not in ("start", "data")}
    return recipe if recipe["seed"] is not None else {**recipe, "seed": config["seed"]}


def fetched(config: Config) -> str:
    """Return a regular expression of the losses whose data are text from the hub."""
    found = {name: loss["data"] for name, loss in config["losses"].items()}
    names = [name for name, data in found.items() if isinstance(data, dict) and "repo" in data]
    return "|".join(names) or NOTHING


def loss_data(config: Config, loss: str) -> str:
    """Return the file with the texts of a loss: from the hub, or as the config names it."""
    data = config["losses"][loss]["data"]
    return data if isinstance(data, str) else f"resources/data/{loss}.jsonl"


def variants(config: Config, pair: str, sweep: str, slice_name: str) -> list[dict[str, Any]]:
    """Return the variants of a slice as name, method, options, seed and checkpoint folder.

    Beside them `onto`, the pair whose base takes the edited delta instead of the pair's own (or
    None), and `deltas`, the further pairs whose deltas are combined with it. Base and post, the
    variants of the sweep `ends`, have neither method, options, tensors nor seed.
    """
    if sweep == ENDS:
        blank = {"method": None, "options": {}, "tensors": None, "seed": None}
        blank |= {"onto": None, "deltas": []}
        return [
            {"name": end, **blank, "folder": f"resources/models/{pair}/{end}"}
            for end in ("base", "post")
        ]
    found = sweeps.slices(sweep, config["sweeps"][sweep], config["seed"])
    if slice_name not in found:
        raise ValueError(registry.unknown("slice", slice_name, found))
    folder = f"results/{pair}/variants/{sweep}/{slice_name}"
    spec = config["sweeps"][sweep]
    return [
        {
            **asdict(v),
            "onto": spec.get("onto"),
            "deltas": spec.get("deltas", []) * edits.takes(edits.load(v.method), "deltas"),
            "folder": f"{folder}/{v.name}",
        }
        for v in found[slice_name]
    ]


def folders(pair: str, sweep: str, slice_name: str) -> list[str]:
    """Return the outputs of the workflow that hold the checkpoints of a slice."""
    if sweep == ENDS:
        return [f"resources/models/{pair}/{end}" for end in ("base", "post")]
    return [f"results/{pair}/variants/{sweep}/{slice_name}"]


def edit_sources(config: Config, pair: str, sweep: str) -> dict[str, Any]:
    """Return what the edits of a sweep read beside base and post: nothing for most methods.

    `gradient` and `vectors` are folders of results, `onto` that of a base, `deltas` the folders of
    base and post of further pairs, in turn.
    """
    spec, found = config["sweeps"][sweep], {}
    if "gradient" in spec:
        found["gradient"] = f"results/{pair}/gradient/{spec['gradient']}"
    if _any_has(spec, "singular_vectors"):
        found["vectors"] = f"results/{pair}/vectors"
    if "onto" in spec:
        found["onto"] = f"resources/models/{spec['onto']}/base"
    if others := spec.get("deltas", []):
        found["deltas"] = [
            f"resources/models/{p}/{end}" for p in others for end in ("base", "post")
        ]
    return found


def edit_modules(config: Config, sweep: str) -> list[str]:
    """Return the modules of the methods that a sweep uses."""
    spec = config["sweeps"][sweep]
    first = spec["options"].get("edit", {}).get("method")
    return [f"edits.{method}" for method in (*sweeps.methods(spec), first) if method]


def _any_has(sweep: Mapping[str, Any], name: str) -> bool:
    """Whether a method of the sweep defines `name`."""
    return any(hasattr(edits.load(method), name) for method in sweeps.methods(sweep))


def kept(config: Config) -> list[str]:
    """Return the folders of the forms in which sweeps are kept on disk."""
    return _unique(
        folder
        for run in config["runs"]
        for sweep, slice_name in _slices(config, run["sweeps"])
        for folder in [
            *folders(run["pair"], sweep, slice_name) * is_kept(config, sweep),
            *[f"results/{run['pair']}/exports/{sweep}/{slice_name}"]
            * bool(exported(config, sweep)),
        ]
    )


def is_kept(config: Config, sweep: str) -> bool:
    """Whether the checkpoints of a sweep stay on disk."""
    return "checkpoint" in config["sweeps"][sweep]["formats"]


def exported(config: Config, sweep: str) -> list[str]:
    """Return the forms, beside checkpoints, in which a sweep's variants are stored."""
    return [form for form in config["sweeps"][sweep]["formats"] if form != "checkpoint"]


def pattern(config: Config, *, keep: bool) -> str:
    """Return a regular expression of the sweeps that are kept on disk, or of the others."""
    names = [name for name in config["sweeps"] if is_kept(config, name) is keep]
    return "|".join(names) or NOTHING


def pairs_of(config: Config, *kinds: str) -> str:
    """Return a regular expression of the pairs of these kinds."""
    names = [name for name, pair in config["pairs"].items() if pair["kind"] in kinds]
    return "|".join(names) or NOTHING


def scores(config: Config) -> list[str]:
    """Return the evaluation files of all runs, base and post first."""
    return _unique(
        f"results/{run['pair']}/eval/{sweep}/{slice_name}/{suite}.json"
        for run in config["runs"]
        for suite in run["suites"]
        for sweep, slice_name in _slices(config, [ENDS, *run["sweeps"]])
    )


def slopes(config: Config) -> list[str]:
    """Return the loss files of all runs, base and post first."""
    return _unique(
        f"results/{run['pair']}/loss/{sweep}/{slice_name}/{loss}.parquet"
        for run in config["runs"]
        for loss in run["losses"]
        for sweep, slice_name in _slices(config, [ENDS, *run["sweeps"]])
    )


def sizes(config: Config) -> list[str]:
    """Return the files with the sizes of the variants that are stored in compact forms."""
    return _unique(
        f"results/{run['pair']}/sizes/{sweep}/{slice_name}.json"
        for run in config["runs"]
        for sweep, slice_name in _slices(config, run["sweeps"])
        if exported(config, sweep)
    )


def curvatures(config: Config) -> list[str]:
    """Return the curvature files of the runs with a method that knows its intensity."""
    return _unique(
        f"results/{run['pair']}/curvature/{loss}.json"
        for run in config["runs"]
        for loss in run["losses"]
        if any(_any_has(config["sweeps"][sweep], "intensity") for sweep in run["sweeps"])
    )


def comparisons(config: Config) -> list[str]:
    """Return the files in which the deltas of several pairs are compared."""
    return [f"results/comparisons/{name}.parquet" for name in config["comparisons"]]


def drawn(config: Config, spec: Mapping[str, Any], measures: Iterable[str]) -> list[str]:
    """Return the result files that a figure or table draws, of its sweeps and of base and post.

    Of a comparison, it is its one file.

    Args:
        config: the study.
        spec: of the figure or table.
        measures: what its kind draws, see `deltaedit.figures`.
    """
    if "comparison" in spec:
        return [f"results/comparisons/{spec['comparison']}.parquet"]
    found: list[str] = []
    for panel in panels(spec):
        pair = panel["pair"]
        for measure, plural, files in (
            ("suite", "suites", scores),
            ("loss", "losses", slopes),
        ):
            if measure not in panel:
                continue
            chosen = drawn_sweeps(config, spec, pair, plural, panel[measure])
            own = {"pair": pair, "sweeps": chosen}
            others = _met(config, pair, chosen) if "onto" in measures else []
            runs = [own, *({"pair": other, "sweeps": []} for other in others)]
            nothing = {"suites": [], "losses": []}
            runs = [{**run, **nothing, plural: [panel[measure]]} for run in runs]
            found += files({**config, "runs": runs})
            if measure == "suite" and "size" in measures:
                found += sizes({**config, "runs": runs[:1]})
        if "curvature" in measures:
            found.append(f"results/{pair}/curvature/{panel['loss']}.json")
    return _unique(found)


def _met(config: Config, pair: str, chosen: Iterable[str]) -> list[str]:
    """Return the other pairs that sweeps of a pair put deltas onto, and take deltas from."""
    specs = [config["sweeps"][sweep] for sweep in chosen]
    names = (
        name for spec in specs if "onto" in spec for name in (spec["onto"], *spec.get("deltas", []))
    )
    return [name for name in _unique(names) if name != pair]


def drawn_sweeps(
    config: Config, figure: Mapping[str, Any], pair: str, plural: str, name: str
) -> list[str]:
    """Return the sweeps that a figure or table draws of a pair: those it names, or all run so."""
    run_so = _unique(
        sweep
        for run in config["runs"]
        if run["pair"] == pair and name in run[plural]
        for sweep in run["sweeps"]
    )
    named = figure.get("sweeps", run_so)
    return [sweep for sweep in named if sweep in run_so]


def panels(figure: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the pairs of a figure, each with its suite and loss as far as the figure has them."""
    keys = [key for key in ("pair", "suite", "loss") if key in figure]
    columns = (in_step(figure, key) for key in keys)
    return [dict(zip(keys, names, strict=True)) for names in zip(*columns, strict=True)]


def in_step(figure: Mapping[str, Any], key: str) -> list[str]:
    """Return the suites or losses of a figure, one for each of its pairs.

    Raises:
        ValueError: there are several, but not one for each.
    """
    pairs, names = (
        [stated] if isinstance(stated, str) else stated for stated in (figure["pair"], figure[key])
    )
    names = names * len(pairs) if len(names) == 1 else names
    if len(names) != len(pairs):
        raise ValueError(f"{len(names)} of them for {len(pairs)} pairs; give one, or one for each")
    return names


def _slices(config: Config, names: list[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        if name == ENDS:
            yield name, WHOLE
        else:
            for slice_name in sweeps.slices(name, config["sweeps"][name], config["seed"]):
                yield name, slice_name


def _unique(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))
