"""What jobs ask for follows from the size of their models, in whatever profile."""

import re

import pytest

EVALUATION = "results/tiny/eval/ends/all/demo.json"
EDIT = "results/tiny/variants/dare/drop_rate=0.1"
SLURM = ("--workflow-profile", "workflow/profiles/slurm")
JOB = re.compile(
    r"^rule \w+:\n(?:    .*\n)*?    output: (.*)\n(?:    .*\n)*?    resources: (.*)$", re.M
)


@pytest.fixture(scope="module")
def asked(tiny):
    """Return a function that gives the resources of all jobs, by what they make."""

    def ask(*args):
        shown = tiny.snakemake("--dry-run", "--forceall", *args).stdout
        return {
            output: dict(pair.split("=") for pair in resources.split(", "))
            for output, resources in JOB.findall(shown)
        }

    return ask


@pytest.fixture(scope="module")
def usual(asked):
    return asked()


@pytest.mark.parametrize(("gpu_mb", "gpus"), [(0, 0), (100_000, 1), (4_000, 2)])
def test_gpus_hold_the_model_where_there_are_any(asked, gpu_mb, gpus):
    found = asked("--default-resources", f"gpu_mb={gpu_mb}")
    assert int(found[EVALUATION]["gpu"]) == gpus
    assert int(found[EDIT]["gpu"]) == 0


def test_a_profile_for_a_cluster_leaves_each_job_s_needs_to_its_rule(asked, usual):
    assert asked(*SLURM) == usual
    assert (int(usual[EVALUATION]["mem_mb"]), usual[EVALUATION]["gpu"]) == (3001, "1")
    submitted = [usual[output] for output in usual if output.startswith("results/tiny/")]
    assert len(submitted) > 10, "the others run where Snakemake does"
    assert all({"mem_mb", "runtime", "gpu"} <= resources.keys() for resources in submitted)


def test_the_command_line_overrides_one_resource(asked, usual):
    found = asked(*SLURM, "--set-resources", "evaluate_variants:mem_mb=4321")
    changed = {
        name for name, value in usual[EVALUATION].items() if found[EVALUATION][name] != value
    }
    assert changed == {"mem_mb", "mem", "mem_mib"}
    assert found[EDIT] == usual[EDIT]


def test_one_gpu_is_for_one_job_and_edits_take_their_turn(asked, usual):
    found = asked("--workflow-profile", "workflow/profiles/local-gpu", "--cores", "8")
    assert found[EVALUATION]["gpu"] == found[EDIT]["gpu"] == "1"
    assert usual[EDIT]["gpu"] == "0"


def test_slices_count_only_where_checkpoints_are_temporary(usual):
    counted = {output: resources.get("slices") for output, resources in usual.items()}
    assert counted[EDIT] == "1"
    assert counted["results/tiny/loss/dare/drop_rate=0.1/math.parquet"] == "1"
    assert counted["results/tiny/eval/expo/all/demo.json"] == "0"
    assert counted["results/tiny/variants/expo/all"] == "0"
    assert counted[EVALUATION] == "0"
    assert counted["results/tiny/delta"] is None


def test_an_edit_of_a_small_model_takes_one_core(tiny):
    """Two would stand idle, one after the other, before each edit."""
    tiny.snakemake("--cores", "2", "results/tiny/delta")
    shown = tiny.snakemake("--dry-run", "--cores", "2", EDIT).stdout
    assert "rule edit_delta" in shown
    assert "threads" not in shown, "one is not worth telling"
