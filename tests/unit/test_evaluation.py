"""Tasks are evaluated one by one, and none twice on the same weights."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import accelerate
import lm_eval.evaluator
import pytest

from deltaedit import evaluation, logs, models, slices, tasks

SCRIPTS = Path(slices.__file__).parents[1]
MATH = {"metric": "exact_match", "filter": "strict", "num_fewshot": 0}
TRUTH = {"metric": "acc", "filter": "none", "num_fewshot": 0}
KEYS = {"pair": "tiny", "sweep": "ends", "slice": "all", "suite": "demo"}


def suite(**options):
    specs = {"demo_truth": TRUTH, "demo_math": MATH}
    return {"tasks": specs, "batch_size": 2, "dtype": "float32", "limit": 4} | options


@pytest.fixture
def calls(monkeypatch):
    """What was evaluated, and how often a model was loaded; `stop_at` a task once."""
    seen = SimpleNamespace(tasks=[], loads=0, stop_at=None)
    evaluate, load = lm_eval.evaluator.simple_evaluate, models.load_causal_lm

    def counted_evaluate(**options):
        if seen.stop_at in options["tasks"]:
            seen.stop_at = None
            raise KeyboardInterrupt
        seen.tasks += options["tasks"]
        return evaluate(**options)

    def counted_load(*args):
        seen.loads += 1
        return load(*args)

    monkeypatch.setattr(lm_eval.evaluator, "simple_evaluate", counted_evaluate)
    monkeypatch.setattr(models, "load_causal_lm", counted_load)
    return seen


@pytest.fixture
def evaluate(tiny_pair, tmp_path, monkeypatch, calls):
    """Return a function that does what the script does with post, and forgets earlier calls."""
    monkeypatch.setattr(logs, "to_file", lambda path: None)
    job = SimpleNamespace(log=[None])
    script = runpy.run_path(str(SCRIPTS / "evaluate_variants.py"), {"snakemake": job})
    folders = dict(zip(("base", "post"), tiny_pair(), strict=True))

    def run(suite, kept="kept", seed=0, end="post", **made_with):
        calls.tasks.clear()
        calls.loads = 0
        edit = {"method": None, "seed": None, "tensors": None}
        variants = [{"name": end, "folder": f"{folders[end]}", **edit}]
        kept = tmp_path / kept
        return script["evaluate_variants"](variants, KEYS, suite, seed, kept, made_with)

    return run


def test_an_interrupted_evaluation_goes_on_at_its_task(evaluate, calls):
    whole = evaluate(suite(), kept="other")
    assert (calls.tasks, calls.loads) == (["demo_truth", "demo_math"], 1)
    calls.stop_at = "demo_math"
    with pytest.raises(KeyboardInterrupt):
        evaluate(suite())
    assert calls.tasks == ["demo_truth"]
    assert evaluate(suite()) == whole
    assert (calls.tasks, calls.loads) == (["demo_math"], 1)
    assert evaluate(suite()) == whole
    assert (calls.tasks, calls.loads) == ([], 0), "nor is the model loaded"


def test_a_task_s_numbers_do_not_depend_on_the_suite_s_others(evaluate, calls):
    both = evaluate(suite())
    reverse = suite(tasks={"demo_math": MATH, "demo_truth": TRUTH})
    assert evaluate(reverse) == both[::-1]
    assert (calls.tasks, calls.loads) == ([], 0)
    for (name, spec), row in zip(suite()["tasks"].items(), both, strict=True):
        assert evaluate(suite(tasks={name: spec}), kept=name) == [row]


def test_a_task_more_costs_that_task(evaluate, calls):
    evaluate(suite(tasks={"demo_truth": TRUTH}))
    evaluate(suite())
    assert calls.tasks == ["demo_math"]
    shot = {"demo_truth": TRUTH | {"num_fewshot": 1}, "demo_math": MATH}
    evaluate(suite(tasks=shot))
    assert calls.tasks == ["demo_truth"]


@pytest.mark.parametrize(
    "change",
    [
        {"suite": suite(batch_size=3)},
        {"suite": suite(limit=5)},
        {"suite": suite(dtype="bfloat16")},
        {"seed": 1},
        {"end": "base"},
        {"code": "b"},
    ],
    ids=lambda change: next(iter(change.get("suite", change))),
)
def test_what_a_measurement_depends_on_has_all_tasks_evaluated_again(evaluate, calls, change):
    evaluate(suite(), code="a")
    evaluate(**{"suite": suite(), "code": "a"} | change)
    assert calls.tasks == ["demo_truth", "demo_math"]


def test_the_files_of_a_task_are_its_own(evaluate, calls, monkeypatch, tmp_path):
    evaluate(suite())
    (tmp_path / "changed.jsonl").write_text("{}")
    files = tasks.files

    def with_more(names):
        return [*files(names), *[tmp_path / "changed.jsonl"] * ("demo_math" in names)]

    monkeypatch.setattr(tasks, "files", with_more)
    evaluate(suite())
    assert calls.tasks == ["demo_math"]


def test_the_data_that_a_suite_names_are_a_part_of_the_task(evaluate, calls, monkeypatch, tmp_path):
    data = tmp_path / "data.json"
    data.write_text("[]")
    monkeypatch.setattr(tasks, "data_files", lambda name, folder: [folder / "data.json"])
    named = suite(tasks={"demo_math": MATH | {"data": str(tmp_path)}, "demo_truth": TRUTH})
    evaluate(named)
    evaluate(named)
    assert calls.tasks == []
    data.write_text("[1]")
    evaluate(named)
    assert calls.tasks == ["demo_math"]


def test_an_evaluation_needs_nothing_kept(tiny_pair, calls):
    manager = evaluation.task_manager(["demo_truth"])
    for _ in range(2):
        [row] = evaluation.evaluate(tiny_pair()[1], suite(tasks={"demo_truth": TRUTH}), manager, 0)
        assert (row["task"], row["count"]) == ("demo_truth", 4)
    assert (calls.tasks, calls.loads) == (["demo_truth"] * 2, 2)


def test_a_model_spread_beyond_its_device_scores_the_same(tiny_pair, tmp_path, monkeypatch):
    folder = tiny_pair()[1]
    manager = evaluation.task_manager(list(suite()["tasks"]))
    wanted = evaluation.evaluate(folder, suite(), manager, 0)
    load = models.load_causal_lm

    def spread(*args):
        model = load(*args)
        places = dict.fromkeys(("model.embed_tokens", "model.rotary_emb", "model.layers.0"), "cpu")
        places |= {"model.layers.1": "disk", "model.norm": "disk", "lm_head": "cpu"}
        model = accelerate.dispatch_model(model, places, main_device="cpu", offload_dir=tmp_path)
        assert model.model.layers[1].mlp.up_proj.weight.is_meta, "on disk until it is needed"
        return model

    monkeypatch.setattr(models, "load_causal_lm", spread)
    assert evaluation.evaluate(folder, suite(), manager, 0) == wanted
