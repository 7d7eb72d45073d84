"""How a suite is to be evaluated, as far as it takes a job."""

import copy
import json
import shutil
from pathlib import Path

import pytest

TARGET = "results/tiny/eval/ends/all/{}.json"
CHAT = "{% for m in messages %}<{{ m.role }}> {{ m.content }} {% endfor %}<assistant> "


@pytest.fixture
def study(fresh, tiny_config, tmp_path):
    """A project with suites for vLLM and with a chat template, and the folder of its post."""
    config = copy.deepcopy(tiny_config)
    post = tmp_path / "post"
    shutil.copytree(config["pairs"]["tiny"]["post"]["path"], post)
    config["pairs"]["tiny"]["post"]["path"] = str(post)
    demo = config["suites"]["demo"]
    config["suites"] |= {
        "fast": {**demo, "backend": "vllm"},
        "chat": {**demo, "chat_template": True},
    }
    config["runs"][0]["suites"] += ["fast", "chat"]
    fresh.configure(config)
    return fresh, post


def said(project, suite):
    """Return the last word of the job that evaluates the ends on a suite."""
    target = TARGET.format(suite)
    assert target in project.planned(target)["evaluate_variants"]
    done = project.snakemake("--cores", "1", target, check=False)
    assert (
        "Traceback"
        not in (project.folder / "logs/evaluate_variants/tiny/ends/all")
        .joinpath(f"{suite}.log")
        .read_text()
    )
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def test_what_a_job_lacks_is_one_line_and_a_template_of_post_serves_both_ends(study):
    project, post = study
    [line] = said(project, "fast")
    assert "backend is vllm, which is not installed" in line
    [line] = said(project, "chat")
    assert "resources/models/tiny/post: the tokenizer has no chat template" in line

    (post / "chat_template.jinja").write_text(CHAT)
    assert said(project, "chat") == []
    found = json.loads(Path(project.folder, TARGET.format("chat")).read_text())
    assert found["provenance"]["suite"]["chat_template"] == CHAT
    assert [row["variant"] for row in found["rows"]] == ["base", "base", "post", "post"]
