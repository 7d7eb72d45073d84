"""What the README shows is what the project does."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_rule_graph_is_the_workflow_s(update, block):
    assert block("rulegraph") == update.rule_graph(), "run make readme"


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
