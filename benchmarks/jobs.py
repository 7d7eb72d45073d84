"""Measure what many jobs cost: to plan, to submit, and to start.

    python benchmarks/jobs.py --folder /tmp/deltaedit-jobs > table.md

A synthetic study of 2,500 variants of a tiny pair, 5,000 jobs where each variant is a slice of its
own, planned with slices of several sizes. Jobs are submitted to a real Slurm (see
`tests/slurm/cluster.py`) whose nodes are drained, so that none runs; then, on nodes that work, a
slice of one variant and one of a hundred are run, and the difference tells what a start takes.
Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow/scripts"), str(ROOT / "tests/slurm")]

from cluster import NODES, Cluster, missing

SNAKEMAKE = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
PROFILE = ["--workflow-profile", str(ROOT / "workflow/profiles/slurm"), "--resources"]
PROFILE += ["slices=1000000"]  # here the disk is no limit
RATES = [round(0.01 + 0.03 * i, 2) for i in range(25)]
SPLITS = {1: ["drop_rate", "seed"], 25: ["seed"], 100: ["drop_rate"], 2500: []}  # by slice size


def make_pair(folder: Path) -> None:
    """Save a pair of Llamas with the demo's tokenizer, 20 thousand weights each."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from deltaedit.demo import language, train_language

    tokenizer = train_language.make_tokenizer(language.make_world())
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), num_attention_heads=2, pad_token_id=0, **sizes)
    )
    for end in ("base", "post"):
        model.save_pretrained(folder / end)
        tokenizer.save_pretrained(folder / end)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.01 * torch.randn(parameter.shape))


def study(folder: Path, split_by: list[str]) -> dict[str, Any]:
    """Return the study whose variants are split into slices by these axes."""
    ends = {end: {"source": "path", "path": str(folder / end)} for end in ("base", "post")}
    suite = {"tasks": {"demo_truth": {"metric": "acc"}}, "batch_size": 64}
    sweep = {"method": "dare", "grid": {"drop_rate": RATES}, "seeds": list(range(100))}
    return {
        "seed": 0,
        "pairs": {"tiny": {"kind": "causal_lm", **ends}},
        "suites": {"truth": suite},
        "sweeps": {"dare": {**sweep, "split_by": split_by}},
        "runs": [{"pair": "tiny", "sweeps": ["dare"], "suites": ["truth"]}],
    }


def measured(command: list[str], folder: Path) -> tuple[float, float, int, str]:
    """Run a command; return its wall and processor seconds, its peak in MB, and what it said."""
    with tempfile.TemporaryFile("w+") as said:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        said.seek(0)
        text = said.read()
    if status:
        raise SystemExit(text)
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss // 1000, text


def plan(folder: Path, size: int) -> list[str]:
    """Return the row of a slice size: what planning all jobs takes."""
    (folder / "study.yaml").write_text(yaml.safe_dump(study(folder, SPLITS[size])))
    command = [*SNAKEMAKE, "--configfile", "study.yaml", "--dry-run", "--quiet", "rules"]
    wall, processor, peak, text = measured(command, folder)
    total = next(line.split()[1] for line in text.splitlines() if line.startswith("total"))
    return [f"{total}", f"{wall:.1f}", f"{processor:.1f}", f"{peak}"]


def submit(folder: Path, cluster: Cluster, size: int) -> list[str]:
    """Return the row of a slice size: how fast jobs are submitted, and the memory that takes."""
    (folder / "study.yaml").write_text(yaml.safe_dump(study(folder, SPLITS[size])))
    command = [*SNAKEMAKE, *PROFILE, "--configfile", "study.yaml", "--jobs", "10000"]
    before = {job.id for job in cluster.jobs()}
    start, first = time.perf_counter(), 0.0
    with subprocess.Popen(
        command,
        cwd=folder,
        env=cluster.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while True:
            if process.poll() is not None:
                raise SystemExit(f"snakemake ended: {process.returncode}")
            edits = {job.id for job in cluster.jobs() if job.rule == "edit_delta"}
            count = len(edits - before)
            first = first or (count > 0) * time.perf_counter()
            if count >= 2500 // size:  # every edit; evaluations wait for them
                break
            time.sleep(0.2)
        now = time.perf_counter()
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = int(status.split("VmHWM:")[1].split()[0]) // 1000
        process.kill()
    subprocess.run(["scancel", "--me"], env=cluster.environment, check=True)
    shutil.rmtree(folder / ".snakemake/locks", ignore_errors=True)
    return [f"{first - start:.1f}", f"{(count - 1) / (now - first):.1f}", f"{peak}"]


def elapsed(folder: Path, cluster: Cluster, size: int) -> float:
    """Return how many seconds Slurm gave a job that evaluates a slice of that size."""
    (folder / "study.yaml").write_text(yaml.safe_dump(study(folder, SPLITS[size])))
    labels = {1: f"drop_rate={RATES[0]}_seed=0", 100: f"drop_rate={RATES[0]}"}
    target = f"results/tiny/eval/dare/{labels[size]}/truth.json"
    before = {job.id for job in cluster.jobs()}
    command = [*SNAKEMAKE, *PROFILE, "--configfile", "study.yaml", "--latency-wait", "5"]
    command += ["--slurm-init-seconds-before-status-checks", "5", target]
    done = subprocess.run(
        command, cwd=folder, env=cluster.environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    [job] = [
        job for job in cluster.jobs() if job.id not in before and job.rule == "evaluate_variants"
    ]
    text = cluster.control("show", "job", str(job.id))
    hours, minutes, seconds = text.split("RunTime=")[1].split()[0].split(":")
    return 3600 * int(hours) + 60 * int(minutes) + int(seconds)


def table(head: list[str], rows: list[list[str]]) -> None:
    for cells in [head, ["---:"] * len(head), *rows]:
        print("|", " | ".join(cells), "|")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("/tmp/deltaedit-jobs"))
    args = parser.parse_args()
    if missing():
        raise SystemExit(f"not installed: {', '.join(missing())}; `make test-slurm` installs Slurm")
    shutil.rmtree(args.folder, ignore_errors=True)
    args.folder.mkdir(parents=True)
    # In a process of its own: the peak of a child is at least its parent's size.
    maker = multiprocessing.get_context("spawn").Process(target=make_pair, args=[args.folder])
    maker.start()
    maker.join()
    print(f"`python {' '.join(sys.argv)}`\n")

    planned = {size: plan(args.folder, size) for size in SPLITS}
    delta = [*SNAKEMAKE, "--configfile", "study.yaml", "--cores", "2", "results/tiny/delta"]
    measured(delta, args.folder)
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="slurm-")))
    try:
        cluster.start()
        for node in NODES:
            cluster.control("update", f"NodeName={node}", "State=DRAIN", "Reason=benchmark")
        submitted = {size: submit(args.folder, cluster, size) for size in (1, 25, 100)}
        head = ["variants per slice", "jobs", "plan s", "CPU s", "MB"]
        head += ["first job after s", "jobs submitted per s", "MB"]
        table(head, [[str(n), *planned[n], *submitted.get(n, [""] * 3)] for n in SPLITS])
        for node in NODES:
            cluster.control("update", f"NodeName={node}", "State=RESUME")
        one, hundred = (elapsed(args.folder, cluster, size) for size in (1, 100))
    finally:
        cluster.stop()
        shutil.rmtree(cluster.folder)
    each = (hundred - one) / 99
    rows = [[str(n), f"{one - each:.0f}", f"{n * each:.1f}"] for n in (1, 25, 100)]
    rows = [[*row, f"{(one - each) / (one - each + int(row[0]) * each):.0%}"] for row in rows]
    table(["variants per slice", "start-up s", "work s", "share of start-up"], rows)


if __name__ == "__main__":
    main()
