"""The papers' experiments at full size plan without a connection, whatever revision is open."""

import re
import shutil

import pytest

from ..project import ROOT, module_at

PRESETS = sorted(file.name for file in (ROOT / "configs").glob("*.yaml"))
TABLE = dict(
    re.findall(r"^\| \[(\S+)\]\(\S+\) \| (.*) \|$", (ROOT / "configs/README.md").read_text(), re.M)
)


@pytest.fixture(scope="module")
def update():
    """What `make readme` runs for the presets."""
    return module_at(ROOT / "docs/update_presets.py")


@pytest.fixture
def offline(fresh, monkeypatch):
    """A project with the presets, without a connection."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("HF_HOME", str(fresh.folder / "home"))
    shutil.copytree(ROOT / "configs", fresh.folder / "configs")
    return fresh


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_plans_the_jobs_of_its_table(offline, name):
    shown = offline.snakemake("--dry-run", "--configfile", f"configs/{name}").stdout
    assert re.search("^rule build_report:|^localrule build_report:", shown, re.M)
    [jobs] = set(re.findall(r"^total\s+(\d+)$", shown, re.M))
    assert TABLE[name].split(" | ")[1] == f"{int(jobs):,}", "run make readme"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_costs_what_its_table_says(update, name):
    what, _, *costs = TABLE[name].split(" | ")
    file = ROOT / "configs" / name
    assert (what, costs) == (update.what(file), update.estimates(file)), "run make readme"


def test_a_preset_with_an_open_revision_does_not_start(offline):
    done = offline.snakemake("--configfile", "configs/zephyr-dpo.yaml", "--cores", "1", check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line == (
        "error: hub alignment-handbook/zephyr-7b-sft-full: pairs.zephyr.base.revision is null; fill"
        " in the 40 digits of a commit, to be copied from"
        " http://127.0.0.1:9/alignment-handbook/zephyr-7b-sft-full/commits/main; also null:"
        " pairs.zephyr.post.revision"
    )
    assert not (offline.folder / "resources").exists()


def test_tokens_grow_with_the_examples_in_a_prompt_and_end_at_the_limit(update):
    suite = {"batch_size": 16, "limit": None}
    prompt = 170  # tokens of a question of GSM8K with its answer, of which there are 1319
    found = update.passes_of_task("gsm8k", {"num_fewshot": 5}, suite)
    assert found == update.Passes(tokens=1319 * 6 * prompt, generated=83 * 256)
    found = update.passes_of_task("gsm8k", {"num_fewshot": 0}, {**suite, "limit": 20})
    assert found == update.Passes(tokens=20 * prompt, generated=2 * 256)


def test_nodes_that_quadratures_share_and_that_at_post_are_not_counted_twice(update):
    nodes = {"left": 4, "gauss_legendre": 5, "trapezoid": 5}
    for rule, count in nodes.items():
        assert update.nodes_of({"quadrature": [rule], "intervals": 5}) == count
    assert update.nodes_of({"quadrature": ["left", "trapezoid"], "intervals": 5}) == 5
