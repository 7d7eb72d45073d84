"""What the README shows is what the project does."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def update():
    spec = importlib.util.spec_from_file_location("update", ROOT / "docs/update_readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def block(name):
    return README.split(f"<!-- {name} -->")[1].strip()


def test_the_rule_graph_is_the_workflow_s(update):
    assert block("rulegraph") == update.rule_graph(), "run make readme"


# Training in other floats (processor, torch) moves what lies on a slope, such as half of the delta
# dropped; these rows lie on plateaus.
PLATEAUS = {"base (pretrained)", "post (post-trained)", "DARE, p = 0.5", "drop only, p = 0.9"}


def test_the_accuracies_are_the_demo_s(update, demo):
    wanted = update.accuracies(pd.read_csv(demo.folder / "results/tables/scores.csv"))
    rows = [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
        for text in (block("accuracies"), wanted)
    ]
    assert [row[0] for row in rows[0]] == [row[0] for row in rows[1]] == ["", "---", *update.ROWS]
    assert rows[0][0] == rows[1][0], "the same tasks"
    assert update.ROWS.keys() >= PLATEAUS
    for ours, theirs in zip(*rows, strict=True):
        if ours[0] in PLATEAUS:
            numbers = [[float(cell) for cell in row[1:]] for row in (ours, theirs)]
            assert numbers[0] == pytest.approx(numbers[1], abs=15), "run make readme"


def test_the_gaps_and_claims_are_of_the_demo(update, demo):
    tables = demo.folder / "results/tables"
    for name, wanted in (
        ("gaps", update.gaps(pd.read_csv(tables / "loss_changes.csv"))),
        ("claims", update.claims(pd.read_csv(tables / "claims.csv"))),
    ):
        shown = [[line.split("|")[1] for line in t.splitlines()] for t in (block(name), wanted)]
        assert shown[0] == shown[1], "run make readme"


def test_the_example_study_is_a_right_one(fresh, tmp_path_factory):
    text = README.split("# study.yaml\n")[1].split("```")[0]
    config = yaml.safe_load(text)
    folder = tmp_path_factory.mktemp("checkpoint")
    config["pairs"]["mine"]["post"]["path"] = str(folder)
    (fresh.folder / "answers.jsonl").write_text('{"prompt": "a", "answer": "b"}\n')
    fresh.configure(config, "study.yaml")
    jobs = fresh.planned("--configfile", "study.yaml")
    assert len(jobs["edit_delta"]) == 2


def test_every_method_is_in_the_table():
    from deltaedit import edits

    for name in edits.NAMES:
        assert f"| `{name}` |" in README


def test_conda_and_pip_pin_the_same():
    lines = (ROOT / "envs/requirements.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    conda = yaml.safe_load((ROOT / "envs/deltaedit.yaml").read_text())
    assert conda["dependencies"][-1]["pip"] == pins
    frozen = (ROOT / "envs/constraints.txt").read_text().lower().splitlines()
    assert set(map(str.lower, pins)) <= set(frozen)
