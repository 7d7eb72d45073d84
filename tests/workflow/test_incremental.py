"""Only what changed is made again."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

SLICES = [f"results/tiny/variants/dare/drop_rate={p}" for p in (0.1, 0.5)]


@pytest.fixture
def edited(tiny):
    """Return a function that appends a line to a source file, put back after the test."""
    originals = {}

    def append(name, line="\n# changed\n"):
        path = tiny.folder / name
        originals[path] = path.read_bytes()
        path.write_bytes(originals[path] + line.encode())

    yield append
    for path, content in originals.items():
        path.write_bytes(content)


@pytest.fixture
def reconfigured(tiny, tiny_config):
    """Return a function that changes the config, put back after the test."""

    def change(function):
        config = copy.deepcopy(tiny_config)
        function(config)
        tiny.configure(config)

    yield change
    tiny.configure(tiny_config)


def test_a_second_run_has_nothing_to_do(tiny):
    assert "Nothing to be done" in tiny.snakemake("--cores", "1").stderr


def test_everything_asked_for_is_there(tiny):
    results = tiny.folder / "results"
    names = ["report.html", "config.yaml"]
    tables = ("scores", "loss_changes", "claims", "verdicts")
    names += [f"tables/{table}.{kind}" for table in tables for kind in ("csv", "md", "tex")]
    names.append("tables/variants.csv")
    names += [
        f"figures/{f}.{kind}" for f in ("accuracy", "terms") for kind in ("svg", "png", "csv")
    ]
    for name in names:
        assert (results / name).stat().st_size > 0
    assert (results / "tiny/variants/expo/all/alpha=0.2/model.safetensors").exists(), "kept"
    assert not any((tiny.folder / path).exists() for path in SLICES), "temporary"
    assert list(tiny.folder.rglob("*.partial*")) == []


def test_a_new_value_on_a_split_axis_runs_its_slice_and_no_other(tiny, reconfigured):
    reconfigured(lambda c: c["sweeps"]["dare"]["grid"].update(drop_rate=[0.1, 0.3, 0.5]))
    jobs = tiny.planned()
    assert jobs["edit_delta"] == ["results/tiny/variants/dare/drop_rate=0.3"]
    assert jobs["evaluate_variants"] == ["results/tiny/eval/dare/drop_rate=0.3/demo.json"]
    assert jobs["approximate_loss"] == ["results/tiny/loss/dare/drop_rate=0.3/math.parquet"]
    assert not jobs.keys() & {"extract_delta", "compute_gradient", "edit_kept_delta"}


def test_a_method_s_source_reruns_its_variants_only(tiny, edited):
    edited("workflow/scripts/deltaedit/edits/dare.py")
    jobs = tiny.planned()
    assert jobs["edit_delta"] == SLICES
    assert not jobs.keys() & {"edit_kept_delta", "extract_delta", "compute_gradient"}
    assert all("/dare/" in output for output in jobs["evaluate_variants"])


def test_a_figure_s_source_redraws_that_figure_only(tiny, edited):
    edited("workflow/scripts/deltaedit/figures/loss_terms.py")
    jobs = tiny.planned()
    assert [output.split(",")[0] for output in jobs.pop("plot_figure")] == [
        "results/figures/terms.svg"
    ]
    assert jobs == {"build_report": ["results/report.html"]}


def test_a_module_behind_all_edits_reruns_all_edits(tiny, edited):
    edited("workflow/scripts/deltaedit/edit.py")
    jobs = tiny.planned()
    assert jobs["edit_delta"] == SLICES
    assert jobs["edit_kept_delta"] == ["results/tiny/variants/expo/all"]
    assert "extract_delta" not in jobs


def test_a_new_post_makes_everything_again(tiny, tiny_config):
    weights = Path(tiny_config["pairs"]["tiny"]["post"]["path"]) / "model.safetensors"
    before, content = weights.stat(), weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    jobs = tiny.planned()
    weights.write_bytes(content)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(jobs["evaluate_variants"]) == len(jobs["approximate_loss"]) == 4


def test_a_figure_s_entry_touches_no_result(tiny, reconfigured):
    reconfigured(lambda c: c["figures"].pop("terms"))
    assert not tiny.planned().keys() & {"edit_delta", "evaluate_variants", "approximate_loss"}


@pytest.fixture
def kept(tiny):
    """Return a function that returns what is kept of measurements, and when each was made."""

    def found():
        files = (tiny.folder / "results/tiny/kept").iterdir()
        return {file.name: file.stat().st_mtime_ns for file in files}

    return found


def test_to_allow_code_reruns_no_suite_without_any(tiny, reconfigured):
    reconfigured(lambda c: c.update(allow_code_execution=True))
    assert not tiny.planned().keys() & {"evaluate_variants", "edit_delta", "approximate_loss"}


def test_a_new_loss_makes_checkpoints_again_but_no_measurement_twice(tiny, reconfigured, kept):
    def add(config):
        config["losses"]["again"] = {**config["losses"]["math"], "count": 4}
        config["runs"][0]["losses"].append("again")

    def scores():
        return (tiny.folder / "results/tables/scores.csv").read_text()

    before, score = kept(), scores()
    reconfigured(add)
    jobs = tiny.planned()
    assert jobs["edit_delta"] == SLICES
    assert not jobs.keys() & {"extract_delta", "edit_kept_delta"}
    tiny.snakemake("--cores", "2")
    after = kept()
    assert {name: after[name] for name in before} == before, "nothing was measured twice"
    assert len(after) == len(before) + 7 * 6, (
        "of base, post and five variants the new loss at five nodes, and at the edited model"
    )
    assert scores() == score
    log = tiny.folder / "logs/evaluate_variants/tiny/dare/drop_rate=0.1/demo.log"
    assert log.read_text().count("recalled") == 2 * 2, "two variants, two tasks"


def test_a_longer_suite_and_a_finer_loss_cost_what_is_new_in_them(tiny, reconfigured, kept):
    def add(config):
        demo, opinion = config["suites"]["demo"], {"demo_opinion": {"metric": "expected_reward"}}
        config["suites"]["longer"] = {**demo, "tasks": opinion | demo["tasks"]}
        rules = {"quadrature": ["left", "trapezoid"]}
        config["losses"]["finer"] = {**config["losses"]["math"], **rules}
        config["runs"][0]["suites"].append("longer")
        config["runs"][0]["losses"].append("finer")

    before = kept()
    reconfigured(add)
    tiny.snakemake("--cores", "2")
    after = kept()
    assert {name: after[name] for name in before} == before, "nothing was measured twice"
    assert len(after) == len(before) + 7 * (1 + 1), "of seven checkpoints one task and one node"
    for job, recalled in {
        "evaluate_variants/tiny/dare/drop_rate=0.1/longer": 2,
        "approximate_loss/tiny/dare/drop_rate=0.1/finer": 6,
    }.items():
        log = (tiny.folder / f"logs/{job}.log").read_text()
        assert log.count("recalled") == 2 * recalled, "of each of two variants"
    for name in ("eval/dare/drop_rate=0.1/{}.json", "eval/ends/all/{}.json"):
        demo, longer = (
            json.loads((tiny.folder / "results/tiny" / name.format(suite)).read_text())["rows"]
            for suite in ("demo", "longer")
        )
        shared = [row | {"suite": "demo"} for row in longer if row["task"] != "demo_opinion"]
        assert shared == demo
        assert len(longer) == len(demo) * 3 // 2

    reconfigured(lambda config: add(config) or config["suites"]["longer"].update(limit=4))
    jobs = tiny.planned()["evaluate_variants"]
    lasting = [job for job in jobs if "/dare/" not in job]  # whose checkpoints are still there
    assert lasting == [f"results/tiny/eval/{name}/all/longer.json" for name in ("ends", "expo")]


def test_a_killed_job_leaves_no_output_and_the_next_run_completes(fresh, tiny_config):
    config = copy.deepcopy(tiny_config)
    config["sweeps"]["many"] = {
        "method": "dare",
        "grid": {"drop_rate": [i / 400 for i in range(400)]},
    }
    config["runs"] = [{"pair": "tiny", "sweeps": ["many"], "suites": ["demo"]}]
    config["figures"] = {}
    fresh.configure(config)
    target = "results/tiny/variants/many/all"
    partial = fresh.folder / "results/tiny/variants/many/.all.partial"
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--notemp", target]
    with subprocess.Popen(command, cwd=fresh.folder, stderr=subprocess.PIPE) as run:
        deadline = time.monotonic() + 120
        while len(list(partial.glob("*/model.safetensors"))) < 5:
            assert run.poll() is None, run.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for process in psutil.Process(run.pid).children(recursive=True):
            process.send_signal(signal.SIGKILL)
        run.communicate()
    assert run.returncode == 1
    assert partial.exists(), "the job must have been killed while it wrote"
    assert not (fresh.folder / target).exists()
    fresh.snakemake("--cores", "1", "--notemp", target)
    assert len(list((fresh.folder / target).iterdir())) >= 400
    assert not partial.exists()
