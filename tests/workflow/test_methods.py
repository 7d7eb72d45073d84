"""Every method runs through the workflow, with what it reads beside its pair and all forms."""

import copy
import json

import pytest

from deltaedit import formats
from deltaedit.checkpoints import Checkpoint


@pytest.fixture(scope="module")
def study(tiny_config, tiny_pair):
    config = copy.deepcopy(tiny_config)
    base, post = tiny_pair(seed=1)
    config["pairs"]["other"] = {
        "kind": "causal_lm",
        "base": {"source": "path", "path": str(base)},
        "post": {"source": "path", "path": str(post)},
    }
    config["sweeps"] = {
        "low": {
            "method": "low_rank",
            "grid": {"rank": [1, 2]},
            "split_by": ["rank"],
            "tensors": "linear",
            "formats": ["adapter"],
        },
        "bits": {"method": "bitdelta", "options": {"zero": "plus"}, "formats": ["packed"]},
        "bias": {"method": "biased", "options": {"by": "product"}, "gradient": "math"},
        "trim": {
            "method": "ties",
            "grid": {"drop_rate": [0.5, 0.9]},
            "formats": ["checkpoint", "sparse"],
        },
        "mixed": {
            "grid": [
                {"method": ["dare", "ties"], "drop_rate": [0.5]},
                {"method": ["biased"], "by": ["product"]},
            ],
            "gradient": "math",
            "split_by": ["method"],
            "formats": ["checkpoint"],
        },
        "merge": {
            "method": "combine",
            "options": {"weights": [0.5, 0.5], "edit": {"method": "dare", "drop_rate": 0.5}},
            "deltas": ["other"],
            "onto": "other",
        },
    }
    sweeps = list(config["sweeps"])
    config["runs"] = [{"pair": "tiny", "sweeps": sweeps, "suites": ["demo"]}]
    config["figures"] = {}
    return config


@pytest.fixture(scope="module")
def project(make_project, study):
    project = make_project()
    project.configure(study)
    made = ["variants/bias/all", "variants/merge/all", "variants/trim/all", "exports/trim/all"]
    made += ["exports/bits/all", "exports/low/rank=1", "exports/low/rank=2"]
    made += ["variants/mixed/method=ties", "variants/mixed/method=biased"]
    project.snakemake("--cores", "2", *(f"results/tiny/{folder}" for folder in made))
    return project


def test_each_variant_says_how_it_was_made(project):
    record = Checkpoint(project.folder / "results/tiny/variants/merge/all/merge").record()
    assert (record["method"], record["options"]["weights"]) == ("combine", [0.5, 0.5])
    assert {"base", "post", "onto", "delta 1 base", "delta 1 post", "commit"} <= record.keys()
    assert record["onto"] == record["delta 1 base"] != record["base"]
    record = Checkpoint(project.folder / "results/tiny/variants/bias/all/bias").record()
    assert record["gradient"] == "math"


def test_the_matrices_are_decomposed_once_for_all_ranks(project, study):
    assert (project.folder / "results/tiny/vectors/model.safetensors").is_file()
    more = copy.deepcopy(study)
    more["sweeps"]["low"]["grid"]["rank"] = [1, 2, 3]
    project.configure(more)
    planned = project.planned("results/tiny/exports/low/rank=3")
    project.configure(study)
    assert planned["edit_delta"] == ["results/tiny/variants/low/rank=3"]
    assert "decompose_delta" not in planned


def test_the_forms_that_a_sweep_names_stay(project):
    results = project.folder / "results/tiny"
    assert (results / "exports/low/rank=1/rank=1/adapter/adapter_config.json").is_file()
    assert (results / "exports/bits/all/bits/packed/packed.safetensors").is_file()
    assert not (results / "variants/bits").exists()
    base = Checkpoint(project.folder / "resources/models/tiny/base")
    for name in ("drop_rate=0.5", "drop_rate=0.9"):
        kept = Checkpoint(results / "variants/trim/all" / name)
        sparse = results / "exports/trim/all" / name / "sparse/sparse.safetensors"
        restored = dict(formats.load(base, sparse))
        assert restored.keys() == kept.tensors.keys()
        assert all(restored[tensor].equal(kept.tensor(tensor)) for tensor in restored)


def test_a_sweep_of_several_methods_makes_what_each_alone_makes(project):
    variants = project.folder / "results/tiny/variants"
    for mixed, alone in (
        ("mixed/method=ties/method=ties,drop_rate=0.5", "trim/all/drop_rate=0.5"),
        ("mixed/method=biased/method=biased,by=product", "bias/all/bias"),
    ):
        ours, theirs = (Checkpoint(variants / folder) for folder in (mixed, alone))
        assert all(ours.tensor(name).equal(theirs.tensor(name)) for name in theirs.tensors)


def test_the_sizes_of_stored_forms_are_written_down(project):
    results = project.folder / "results/tiny"
    rows = json.loads((results / "sizes/trim/all.json").read_text())["rows"]
    for row in rows:
        file = results / "exports/trim/all" / row["variant"] / row["form"] / "sparse.safetensors"
        assert row["bytes"] == file.stat().st_size
        whole = results / "variants/trim/all" / row["variant"] / "model.safetensors"
        assert row["checkpoint_bytes"] == whole.stat().st_size
    assert [row["drop_rate"] for row in rows] == [0.5, 0.9]
    assert rows[1]["bytes"] < rows[0]["bytes"] < rows[0]["checkpoint_bytes"]
