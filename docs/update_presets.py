"""Bring configs/README.md up to date: what each preset costs, from its plan and from its config.

Run by `make readme`. Jobs are those of a dry run. GPU hours and disk are estimated by the formulas
below, from `task_sizes.csv` and `model_sizes.csv`; nothing was run on a GPU.
"""

import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow/scripts"))

from deltaedit import config as configuration
from deltaedit import image_study, image_tasks, needs, quadrature, study, sweeps
from deltaedit.needs import GB, Size

Config = Mapping[str, Any]

SLICES = 16  # at once, as in workflow/profiles/slurm/profile.yaml
PROBES = 8  # of a curvature, as in workflow/rules/common.smk
FORWARD = 2  # floating point operations per parameter and token
BACKWARD = 3  # passes that a gradient costs, its forward pass among them
FLOAT = 4  # bytes
PICTURE = 3 * 224 * 224  # bytes, as prepare_images stores it
AUTO = 64  # sequences at once where `batch_size: auto`


@dataclass(frozen=True)
class Machine:
    """What a processor sustains."""

    flops: float  # per second, in the suite's dtype
    float32: float  # per second, in losses
    bandwidth: float  # bytes per second from its memory, which generating a token reads once
    overhead: float  # seconds beside that, per token of a batch


# An A100 of 80 GB: 45 % of its peak in bfloat16, 70 % in float32, 75 % of its bandwidth, and what
# launching the kernels of a token takes transformers.
GPU = Machine(flops=140e12, float32=14e12, bandwidth=1.5e12, overhead=0.02)
# Eight cores of a server.
PROCESSOR = Machine(flops=0.25e12, float32=0.25e12, bandwidth=50e9, overhead=0.01)
START = 60  # seconds until a job's libraries are loaded
DISK = 1e9  # bytes per second, of a checkpoint that is loaded


@dataclass(frozen=True)
class Passes:
    """What an evaluation or a loss sends through a model."""

    tokens: float  # that are read
    generated: float = 0.0  # tokens generated one after the other, a batch's side by side


@cache
def _table(name: str, key: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / f"docs/{name}.csv", comment="#").set_index(key)


def model_of(config: Config, pair: str) -> pd.Series | None:
    """Return the row of `model_sizes.csv` of a pair; None if its base is not from the hub."""
    base = config["pairs"][pair]["base"]
    if base["source"] == "continued":
        base = config["continued"][base["name"]]["start"]
    return _table("model_sizes", "repo").loc[base["repo"]] if base["source"] == "hub" else None


def passes_of_task(name: str, task: Mapping[str, Any], suite: Mapping[str, Any]) -> Passes:
    """Return what a task sends through a model.

    tokens = documents x requests x (prefix + (shots + 1) x tokens of a document)
    generated = batches x tokens of the longest answer of a batch
    """
    row = _table("task_sizes", "task").loc[_name(name)]
    documents = min(row["documents"], suite["limit"] or row["documents"])
    prompt = row["prefix"] + (task["num_fewshot"] + 1) * row["tokens"]
    at_once = AUTO if suite["batch_size"] == "auto" else suite["batch_size"]
    return Passes(
        documents * row["requests"] * prompt, math.ceil(documents / at_once) * row["generated"]
    )


def _name(task: str) -> str:
    if task in image_tasks.names():
        return f"{task}:{image_tasks.load(task).split}"
    return "mgsm" if task.startswith("mgsm_") else task


def tokens_of_loss(loss: Mapping[str, Any]) -> float:
    """Return the tokens of one pass over the examples of a loss."""
    data = loss["data"]
    place = f"{data.get('repo') or data['task']}:{data['split']}"
    answers = 2 if loss["kind"] == "dpo" else 1
    return loss["count"] * answers * _table("task_sizes", "task").loc[place, "tokens"]


def nodes_of(loss: Mapping[str, Any]) -> int:
    """Return how many gradients a variant takes, that at post apart, which all share."""
    rules = (quadrature.rule(name, loss["intervals"])[0] for name in loss["quadrature"])
    return len({round(float(node), 9) for nodes in rules for node in nodes} - {0.0})


def evaluation_seconds(
    config: Config, pair: str, suite: Mapping[str, Any], machine: Machine
) -> float:
    """Return the seconds that a variant's suite takes, those of all GPUs of its job together.

    2 x parameters x tokens / flops
    + generated x (GPUs x overhead + weights / bandwidth) + weights / disk
    """
    model = model_of(config, pair)
    is_of_texts = config["pairs"][pair]["kind"] == "causal_lm"
    gpus = max(1, needs.evaluation(_size(model), suite, 1).gpus(1, needs.GPU_MB))
    found = [passes_of_task(name, task, suite) for name, task in suite["tasks"].items()]
    read, generated = (sum(getattr(each, n) for each in found) for n in ("tokens", "generated"))
    weights = model["stored"]
    return (
        FORWARD * model["passed"] * read / (machine.flops if is_of_texts else machine.float32)
        + generated * (gpus * machine.overhead + weights / machine.bandwidth)
        + weights / DISK
    )


def _size(model: pd.Series) -> Size:
    return Size(*(int(model[key]) for key in ("stored", "entries", "largest")))


def loss_seconds(
    config: Config, pair: str, loss: Mapping[str, Any], passes: int, machine: Machine
) -> float:
    """Return the seconds of so many forward passes over a loss: 2 x parameters x tokens each."""
    model = model_of(config, pair)
    flops = machine.flops if loss["autocast"] else machine.float32
    one = FORWARD * model["passed"] * tokens_of_loss(loss) / flops
    return passes * one + model["stored"] / DISK


def gpu_hours(config: Config, machine: Machine = GPU) -> float:
    """Return the hours of one GPU that all evaluations and losses of a study take together."""
    seconds = 0.0
    for pair, kind, name, variants in _measured(config):
        if kind == "suite":
            each = evaluation_seconds(config, pair, config["suites"][name], machine)
        else:
            loss = config["losses"][name]
            passes = BACKWARD * nodes_of(loss) + 1
            each = loss_seconds(config, pair, loss, passes, machine)
        seconds += START + variants * each
    for file in [*study.curvatures(config), *gradients(config)]:
        _, pair, what, name = Path(file).with_suffix("").parts
        passes = BACKWARD * (2 * PROBES if what == "curvature" else 1)
        seconds += START + loss_seconds(config, pair, config["losses"][name], passes, machine)
    for spec in config["continued"].values():
        tokens = spec["steps"] * spec["batch_size"] * spec["length"]
        entries = _table("model_sizes", "repo").loc[spec["start"]["repo"], "entries"]
        seconds += START + BACKWARD * FORWARD * entries * tokens / machine.flops
    return seconds / 3600


def _measured(config: Config) -> Iterator[tuple[str, str, str, int]]:
    """Yield each job that measures: pair, suite or loss, its name, and the number of variants."""
    files = set(study.scores(config) + study.slopes(config))
    for section in ("figures", "tables"):  # which may ask for the ends of further pairs
        module = getattr(configuration, section)
        for spec in config[section].values():
            files |= set(study.drawn(config, spec, module.load(spec["kind"]).MEASURES))
    for file in sorted(files):
        match Path(file).with_suffix("").parts:
            case ("results", pair, "eval" | "loss" as kind, sweep, slice_name, name):
                count = len(study.variants(config, pair, sweep, slice_name))
                yield pair, {"eval": "suite", "loss": "loss"}[kind], name, count


def gradients(config: Config) -> list[str]:
    """Return the folders of the gradients at post that a study takes."""
    found = {(run["pair"], loss) for run in config["runs"] for loss in run["losses"]}
    found |= {
        (run["pair"], config["sweeps"][sweep]["gradient"])
        for run in config["runs"]
        for sweep in run["sweeps"]
        if "gradient" in config["sweeps"][sweep]
    }
    return [f"results/{pair}/gradient/{loss}" for pair, loss in sorted(found)]


def peak_disk(config: Config, slices: int) -> float:
    """Return the bytes of all that is on disk at once, at most.

    Checkpoints once (links to the hub's cache on the same disk) and those of continued pretraining
    with its optimizer; the delta of each pair that is edited and each gradient, in float32; the
    singular vectors; edited checkpoints of the largest `slices` that may exist at once, and all
    that are kept; prepared pictures.
    """
    models = _table("model_sizes", "repo")
    total = 0.0
    seen = set()
    for pair, stated in config["pairs"].items():
        model = model_of(config, pair)
        for end in ("base", "post"):
            if stated[end].get("repo") not in seen:
                seen.add(stated[end].get("repo"))
                total += model["stored"]
    for spec in config["continued"].values():
        start = models.loc[spec["start"]["repo"]]
        total += start["stored"] + 3 * FLOAT * start["entries"]
    for pair in {run["pair"] for run in config["runs"]}:
        total += FLOAT * model_of(config, pair)["entries"]
    for folder in gradients(config):
        total += FLOAT * model_of(config, Path(folder).parts[1])["entries"]
    temporary = []
    for run in config["runs"]:
        model = model_of(config, run["pair"])
        for name in run["sweeps"]:
            found = sweeps.slices(name, config["sweeps"][name], config["seed"]).values()
            sizes = [len(variants) * model["stored"] for variants in found]
            if study.is_kept(config, name):
                total += sum(sizes)
            else:
                temporary += sizes
    total += sum(sorted(temporary, reverse=True)[:slices])
    for pair in {
        run["pair"]
        for run in config["runs"]
        if any("low_rank" in sweeps.methods(config["sweeps"][name]) for name in run["sweeps"])
    }:
        total += FLOAT * model_of(config, pair)["vectors"]
    return total + _pictures(config)


def _pictures(config: Config) -> float:
    found = set()
    for run in config["runs"]:
        for suite in run["suites"]:
            names = [t for t in config["suites"][suite]["tasks"] if t in image_tasks.names()]
            found |= {(run["pair"], _name(task)) for task in names}
        for loss in run["losses"]:
            data = config["losses"][loss]["data"]
            if image_study.asks_images(config["losses"][loss]):
                found.add((run["pair"], f"{data['task']}:{data['split']}"))
    documents = _table("task_sizes", "task")["documents"]
    return PICTURE * sum(documents[place] for _, place in found)


def planned(file: Path) -> int:
    """Return the number of jobs of a dry run without a connection, in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
        command += ["--directory", folder, "--configfile", str(file), "--dry-run"]
        offline = {"HF_ENDPOINT": "http://127.0.0.1:9"}  # nobody listens there
        done = subprocess.run(
            [*command, "--quiet", "rules"],
            env=os.environ | offline,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise SystemExit(f"{file.name}: {done.stderr}")
    return int(re.findall(r"^total\s+(\d+)", done.stdout + done.stderr, re.MULTILINE)[-1])


def read(file: Path) -> Config:
    """Return a preset, checked and with its defaults."""
    config = yaml.safe_load(file.read_text())
    configuration.check(config, [file], ROOT)
    return config


def header(file: Path) -> list[str]:
    """Return the paragraphs of the comment that a preset begins with."""
    lines = re.match(r"(?:#.*\n)+", file.read_text()).group().splitlines()
    text = "\n".join(line.removeprefix("#").strip() for line in lines)
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def what(file: Path) -> str:
    """Return the first sentence of a preset's header."""
    return re.split(r"[.] (?=[A-Z])|[.]$", header(file)[0])[0]


def slices_at_once(file: Path) -> int:
    """Return how many slices of edited checkpoints the command in a preset's header keeps."""
    stated = re.search(r"--resources slices=(\d+)", " ".join(header(file)))
    return int(stated[1]) if stated else SLICES


def row(file: Path) -> str:
    """Return a preset's line in the table."""
    cells = (f"[{file.name}]({file.name})", what(file), f"{planned(file):,}", *estimates(file))
    return f"| {' | '.join(cells)} |"


def estimates(file: Path) -> list[str]:
    """Return variants, GPU hours and peak disk of a preset; blank where no model is the hub's."""
    config = read(file)
    variants = sum(
        len(found)
        for run in config["runs"]
        for sweep in run["sweeps"]
        for found in sweeps.slices(sweep, config["sweeps"][sweep], config["seed"]).values()
    )
    if any(model_of(config, pair) is None for pair in config["pairs"]):
        return [f"{variants:,}", "", ""]
    disk = peak_disk(config, slices_at_once(file))
    return [f"{variants:,}", _rounded(gpu_hours(config)), _rounded(disk / GB)]


def _rounded(value: float) -> str:
    """Return two digits: the estimate has no more."""
    if value < 1:
        return "below 1"
    digits = max(0, math.floor(math.log10(value)) - 1)
    return f"{round(value / 10**digits) * 10**digits:,}"


def table() -> str:
    """Return what each preset runs and costs."""
    lines = [
        "| preset | what it runs | jobs | variants | GPU hours | peak disk GB |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    return "\n".join([*lines, *map(row, sorted((ROOT / "configs").glob("*.yaml")))])


def overnight() -> str:
    """Return what the smallest real study takes without a GPU."""
    hours = gpu_hours(read(ROOT / "configs/smollm2.yaml"), PROCESSOR)
    return (
        f"Without a GPU `smollm2.yaml` takes about {hours:.0f} hours on eight cores, reckoned in"
        f" the same way at {PROCESSOR.float32 / 1e12} TFLOP/s."
    )


def replace(text: str, name: str, block: str) -> str:
    """Put `block` between the markers of `name`."""
    marker = f"<!-- {name} -->"
    head, _, tail = text.split(marker)
    return f"{head}{marker}\n{block}\n{marker}{tail}"


def main() -> None:
    readme = ROOT / "configs/README.md"
    text = replace(readme.read_text(), "presets", table())
    readme.write_text(replace(text, "processor", overnight()))


if __name__ == "__main__":
    main()
