"""The whole chain on a cluster, from trained models to the report."""

import copy
from collections import Counter

import pytest
import yaml

from .conftest import Site

# What computes with a model asks for a GPU; what reads and writes weights does not.
ON_GPUS = {
    "approximate_loss",
    "compute_gradient",
    "estimate_curvature",
    "evaluate_images",
    "evaluate_variants",
}
ON_PROCESSORS = {
    "decompose_delta",
    "edit_delta",
    "edit_kept_delta",
    "encode_classes",
    "export_variants",
    "extract_delta",
    "make_demo_images",
    "prepare_images",
    "train_demo_checkpoint",
}


def reduced(config, tiny_config):
    """The default study cut down to one image pair, with a pair of texts that needs no training."""
    found = copy.deepcopy(tiny_config)
    found["pairs"]["demo_digits"] = config["pairs"]["demo_digits"]
    found["suites"]["digits"] = {**config["suites"]["digits"], "limit": 100}
    found["losses"]["demo_digits"] = {**config["losses"]["demo_digits"], "intervals": 2}
    found["sweeps"] |= {
        "dare": {"method": "dare", "grid": {"drop_rate": [0.5]}},
        "drop_only": {
            "method": "dare",
            "options": {"rescale": False},
            "grid": {"drop_rate": [0.5]},
        },
        "low_rank": {"method": "low_rank", "options": {"rank": 2}, "formats": ["adapter"]},
    }
    found["runs"] = [
        {"pair": "tiny", "sweeps": ["low_rank", "expo"], "suites": ["demo"]},
        {
            "pair": "demo_digits",
            "sweeps": ["dare", "drop_only"],
            "suites": ["digits"],
            "losses": ["demo_digits"],
        },
    ]
    found["figures"] = {
        "accuracy": {
            "kind": "accuracy_by_drop_rate",
            "pair": "demo_digits",
            "sweeps": ["dare", "drop_only"],
            "suite": "digits",
        },
        "terms": {
            "kind": "loss_terms",
            "pair": "demo_digits",
            "sweeps": ["dare", "drop_only"],
            "loss": "demo_digits",
        },
    }
    return found


@pytest.fixture(scope="module")
def chain(make_project, cluster, tiny_config):
    project = make_project()
    default = yaml.safe_load((project.folder / "config.yaml").read_text())
    project.configure(reduced(default, tiny_config))
    site = Site(project, cluster, [], 1)
    site.submit().finish(900)
    yield site
    site.close()


def test_every_job_succeeds_at_once(chain):
    jobs = chain.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    counts = Counter((job.rule, job.wildcards) for job in jobs)
    assert set(counts.values()) == {1}, "no job was tried twice"


def test_jobs_are_where_their_rule_belongs(chain):
    jobs = chain.jobs()
    assert {job.rule for job in jobs if job.gpus} == ON_GPUS
    assert {job.rule for job in jobs if not job.gpus} == ON_PROCESSORS
    assert {job.node for job in jobs if job.gpus} == {"node-gpu"}


def test_downloads_tables_and_figures_are_made_where_the_run_is(chain):
    said = chain.output()
    for rule in ("download_checkpoint", "gather_scores", "plot_figure", "build_report"):
        assert f"localrule {rule}:" in said


def test_figures_tables_and_the_report_are_there(chain):
    results = chain.folder / "results"
    for name in ("report.html", "tables/claims.csv", "figures/terms.png"):
        assert (results / name).stat().st_size > 0
    assert not list(results.rglob("*.partial*"))
    assert not list(results.glob("*/variants/dare/*")), "temporary"


def test_logs_are_by_rule_and_those_of_what_went_well_are_gone(chain):
    assert (chain.folder / "logs/edit_delta/demo_digits/dare/all.log").exists()
    assert not list((chain.folder / "logs/slurm").rglob("*.log"))


def test_a_second_run_has_nothing_to_do(chain):
    assert "Nothing to be done" in chain.submit().finish()
