"""What the README shows is what the project does."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_rule_graph_is_the_workflow_s(update, block):
    assert block("rulegraph") == update.rule_graph(), "run make readme"


def test_what_jobs_ask_for_is_the_code_s(update):
    text = (ROOT / "docs/cluster.md").read_text()
    assert text.split("<!-- needs -->")[1].strip() == update.needs_of_8b(), "run make readme"


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


def test_all_environments_have_the_same_pins():
    lines = (ROOT / "envs/requirements.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    conda = yaml.safe_load((ROOT / "envs/deltaedit.yaml").read_text())
    assert conda["dependencies"][-1]["pip"] == pins
    image = (ROOT / "envs/deltaedit.def").read_text()
    for name in ("requirements.txt", "constraints.txt"):
        assert f"envs/{name} /opt/{name}" in image
    frozen = (ROOT / "envs/constraints.txt").read_text().lower().splitlines()
    assert set(map(str.lower, pins)) <= set(frozen)
