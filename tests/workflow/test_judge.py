"""A suite that a language model judges: from the config to the answers with their verdicts."""

import copy
import json

from ..endpoint import reply

RESULT = "results/tiny/eval/ends/all/judged.json"


def test_a_judge_of_the_config_judges_the_answers_of_base_and_post(fresh, tiny_config, endpoint):
    endpoint.replies = [reply(text) for text in ("yes", "no", "no", "yes")]
    config = copy.deepcopy(tiny_config)
    document = "workflow/tasks/dr_fantasy/document.txt"
    config["judges"] = {"big": {"url": endpoint.url, "model": "m", "document": document}}
    task = {"dr_fantasy": {"metric": "judged", "judge": "big"}}
    config["suites"]["judged"] = {"tasks": task, "batch_size": 2, "limit": 2}
    fresh.configure(config)
    fresh.snakemake("--cores", "2", RESULT)
    found = json.loads((fresh.folder / RESULT).read_text())
    assert [row["value"] for row in found["rows"]] == [0.5, 0.5]
    assert [one["is_right"] for one in found["rows"][0]["answers"]] == [True, False]
    assert found["provenance"]["suite"]["tasks"]["dr_fantasy"]["judge"]["model"] == "m"
    text = fresh.folder / document
    text.write_text(text.read_text() + "He died in 2024.\n")
    assert fresh.planned(RESULT)["evaluate_variants"] == [RESULT], "it is judged by other text"
