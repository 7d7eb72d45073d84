"""Through the front door: a mistake ends a dry run with one line, before any job."""

import copy

import pytest
import yaml


def refusal(project, *args):
    done = project.snakemake("--dry-run", *args, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda c: c["sweeps"]["dare_grid"].update(method="dair"),
            "error: config.yaml, sweeps.dare_grid: unknown edit method 'dair'."
            " Did you mean 'dare'? Known: biased, bitdelta, breadcrumbs, combine, dare, della,"
            " expo, low_rank, ties",
        ),
        (
            lambda c: c["sweeps"]["dare_grid"]["grid"][0].update(drop_rate=[1.0]),
            "error: config.yaml, sweeps.dare_grid: drop_rate must be in [0, 1), got 1.0",
        ),
        (
            lambda c: c["suites"]["demo"]["tasks"].update(gsm8kk={"metric": "exact_match"}),
            "error: config.yaml, suites.demo.tasks: unknown task 'gsm8kk'. Did you mean 'gsm8k'?"
            " Known are those of workflow/tasks and lm-eval's, which `lm_eval ls tasks` lists",
        ),
    ],
)
def test_a_mistake_is_one_line(fresh, change, line):
    config = yaml.safe_load((fresh.folder / "config.yaml").read_text())
    change(config)
    fresh.configure(config)
    assert refusal(fresh) == [line]


def test_a_repeated_sweep_is_one_line(fresh):
    file = fresh.folder / "config.yaml"
    file.write_text(file.read_text().replace("  pruning:\n", "  dare_grid:\n"))
    [line] = refusal(fresh)
    assert "sweeps.dare_grid: stands twice" in line


def test_a_task_of_lm_eval_is_known(fresh, tiny_config):
    config = copy.deepcopy(tiny_config)
    config["suites"]["demo"]["tasks"] = {"gsm8k": {"metric": "exact_match", "num_fewshot": 5}}
    fresh.configure(config)
    assert "evaluate_variants" in fresh.planned()


@pytest.mark.parametrize("given", [[], ["--configfile", "study.yaml"]])
def test_a_limit_on_the_command_line_is_that_of_every_suite(fresh, tiny_config, given):
    suites = copy.deepcopy(tiny_config["suites"])
    suites["more"] = {**suites["demo"], "limit": None}
    fresh.configure({**tiny_config, "suites": suites}, given[-1] if given else "config.yaml")
    options = ["--cores", "1", *given, "--config", "limit=16", "--", "results/config.yaml"]
    fresh.snakemake(*options)
    found = yaml.safe_load((fresh.folder / "results/config.yaml").read_text())["suites"]
    assert {name: suite["limit"] for name, suite in found.items()} == {"demo": 8, "more": 16}


def test_a_given_config_replaces_the_default_one(fresh, tiny_config):
    fresh.configure(tiny_config, "study.yaml")
    jobs = fresh.planned("--configfile", "study.yaml")
    outputs = " ".join(output for outputs in jobs.values() for output in outputs)
    assert "results/tiny/delta" in outputs
    assert "demo_lm" not in outputs


def test_a_pair_that_does_not_match_is_refused_before_anything_is_written(
    fresh, tiny_config, tiny_pair, tmp_path_factory
):
    from safetensors.torch import load_file, save_file

    config = copy.deepcopy(tiny_config)
    _, post = tiny_pair()
    tensors = load_file(post / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, post / "model.safetensors", metadata={"format": "pt"})
    config["pairs"]["tiny"]["post"]["path"] = str(post)
    fresh.configure(config)
    done = fresh.snakemake("--cores", "1", "results/tiny/delta", check=False)
    assert done.returncode == 1
    assert "error: resources/models/tiny/base and resources/models/tiny/post do not match:" in (
        done.stderr
    )
    assert "post lacks 'model.norm.weight'" in done.stderr
    assert "Traceback" not in (fresh.folder / "logs/extract_delta/tiny.log").read_text()
    assert not (fresh.folder / "results/tiny/delta").exists()
