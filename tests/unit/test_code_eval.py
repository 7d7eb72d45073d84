"""Programs are scored by their tests as lm-eval scores them, in the sandbox and offline."""

import itertools
import json
from collections import Counter
from math import comb
from pathlib import Path

import lm_eval
import pytest
from lm_eval.tasks import get_task_dict
from lm_eval.tasks._yaml_loader import load_yaml

from deltaedit import code_eval, evaluation, models, sandbox, tasks
from deltaedit.errors import UserError

from ..project import PLAIN
from ..sandbox import NEEDS_SANDBOX

pytestmark = NEEDS_SANDBOX

HUMAN_EVAL = tasks.SHIPPED / "human_eval"
PROBLEMS = [json.loads(line) for line in (HUMAN_EVAL / "human_eval.jsonl").open()]
ADD = ["def add(a, b): return a + b", "def add(a, b): return a * b", "def add(a, b): exit()"]
TEST = "assert add(2, 3) == 5"
SUITE = {
    "tasks": {"human_eval_local": {"metric": "pass@1", "filter": "create_test", "num_fewshot": 0}},
    "batch_size": 2,
    "dtype": "float32",
    "limit": 2,
    **PLAIN,
}


@pytest.mark.parametrize(("total", "passed"), [(1, 0), (1, 1), (5, 2), (6, 0), (6, 6), (7, 3)])
def test_pass_at_k_is_the_share_of_sets_of_k_that_hold_one_which_passes(total, passed):
    candidates = [True] * passed + [False] * (total - passed)
    for k in range(1, total + 1):
        found = [any(chosen) for chosen in itertools.combinations(candidates, k)]
        assert len(found) == comb(total, k)
        assert code_eval.pass_at_k(total, passed, k) == pytest.approx(sum(found) / len(found))


def test_scores_are_means_over_problems():
    scores, results = code_eval.compute(
        references=[TEST, "assert add(1, 1) == 2"],
        predictions=[ADD, [ADD[0]] * 2],
        k=[1, 2, 3],
    )
    assert scores == {"pass@1": pytest.approx((1 / 3 + 1) / 2), "pass@2": pytest.approx(5 / 6)}
    assert [entry["passed"] for _, entry in results[0]] == [True, False, False]
    assert [(number, entry["completion_id"]) for number, entry in results[1]] == [(0, 0), (1, 1)]
    failed = {"task_id": 0, "completion_id": 1, "passed": False}
    assert results[0][1] == (1, failed | {"result": "failed: AssertionError"})


def test_the_problems_of_human_eval_are_all_there():
    assert [p["task_id"] for p in PROBLEMS] == [f"HumanEval/{i}" for i in range(164)]


def test_every_solution_of_human_eval_passes_and_no_prompt_alone():
    references = [f"{p['test']}\ncheck({p['entry_point']})" for p in PROBLEMS]
    prompts = [p["prompt"] for p in PROBLEMS]
    solutions = [p["prompt"] + p["canonical_solution"] for p in PROBLEMS]
    _, results = code_eval.compute(
        references=references, predictions=list(zip(solutions, prompts, strict=True))
    )
    found = Counter(tuple(entry["passed"] for _, entry in each) for each in results.values())
    assert found == {(True, False): 164}, results


@pytest.mark.parametrize("variant", ["", "_instruct"])
def test_the_tasks_ask_what_lm_eval_s_own_ask(variant):
    theirs, ours = (
        load_yaml(path, resolve_func=False)
        for path in (
            Path(lm_eval.__file__).parent / "tasks/humaneval" / f"humaneval{variant}.yaml",
            HUMAN_EVAL / f"human_eval_local{variant}.yaml",
        )
    )
    for key in theirs.keys() - {"task", "dataset_path", "metric_list", "filter_list"}:
        assert ours[key] == theirs[key], key
    for entry in ("name", "filter"):
        [wanted], [found] = (
            [each[entry] for each in spec["filter_list"]] for spec in (theirs, ours)
        )
        assert str(found).rpartition(".")[2] == str(wanted).rpartition(".")[2], "the same function"


def test_a_task_scores_programs_by_their_tests():
    manager = evaluation.task_manager(["human_eval_local"])
    task = get_task_dict(["human_eval_local"], manager)["human_eval_local"]
    document = task.dataset["test"][0]
    for response, score in ((document["canonical_solution"], 1), ("    return True\n", 0)):
        programs = task.config.filter_list[0]["filter"][0]["filter_fn"]([[response]], [document])
        assert task.process_results(document, programs) == {"pass@1": score}


def test_lm_eval_s_own_metrics_run_programs_in_the_sandbox():
    code_eval.install()
    from lm_eval.tasks.humaneval.utils import pass_at_k
    from lm_eval.tasks.mbpp.utils import pass_at_1

    assert pass_at_k([TEST], [ADD[:2]], k=1) == {"pass@1": 0.5}
    assert pass_at_1(TEST, [ADD[0]]) == 1
    assert pass_at_1("import os\nassert os.path.exists('/proc')", [""]) == 0


@pytest.fixture
def model(tiny_pair):
    """A tiny Llama with room for a program, which every other token ends."""
    folder = tiny_pair()[1]
    file = folder / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"max_position_embeddings": 2048}))
    ends = list(range(0, config["vocab_size"], 2))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    return folder


def test_a_model_is_evaluated_on_human_eval(model):
    manager = evaluation.task_manager(["human_eval_local"])
    [row] = evaluation.evaluate(model, SUITE, manager, 0, allow_code=True)
    assert (row["task"], row["metric"], row["count"]) == ("human_eval_local", "pass@1", 2)
    assert (row["value"], row["stderr"]) == (0, 0)


def test_code_is_not_run_where_it_may_not(model):
    manager = evaluation.task_manager(["human_eval_local"])
    with pytest.raises(ValueError, match="unsafe"):
        evaluation.evaluate(model, SUITE, manager, 0)


def test_a_machine_without_sandbox_loads_no_model(model, monkeypatch):
    monkeypatch.setattr(sandbox, "_working", lambda: (None, "it takes Linux"))
    monkeypatch.setattr(models, "load_causal_lm", None)
    code_eval.install.cache_clear()
    manager = evaluation.task_manager(["human_eval_local"])
    with pytest.raises(UserError, match="has no sandbox on this machine: it takes Linux"):
        evaluation.evaluate(model, SUITE, manager, 0, allow_code=True)
    kept = evaluation.evaluate(model, SUITE, manager, 0, lambda unit, make: {}, allow_code=True)
    assert kept == [{}], "what was measured needs none"
