"""Tasks are evaluated one by one, and none twice on the same weights."""

import json
import runpy
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import accelerate
import lm_eval.evaluator
import lm_eval.utils
import pytest
import torch
from lm_eval.models.huggingface import HFLM

from deltaedit import backends, evaluation, logs, models, slices, tasks
from deltaedit.errors import UserError

from ..project import PLAIN

SCRIPTS = Path(slices.__file__).parents[1]
MATH = {"metric": "exact_match", "filter": "strict", "num_fewshot": 0}
TRUTH = {"metric": "acc", "filter": "none", "num_fewshot": 0}
CHAT = "{% for m in messages %}<{{ m.role }}> {{ m.content }} </> {% endfor %}<assistant> "
KEYS = {"pair": "tiny", "sweep": "ends", "slice": "all", "suite": "demo"}


def suite(**options):
    specs = {"demo_truth": TRUTH, "demo_math": MATH}
    usual = {"dtype": "float32", "limit": 4, **PLAIN}
    return {"tasks": specs, "batch_size": 2, **usual} | options


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
        {"suite": suite(chat_template=CHAT)},
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


def test_templates_are_compiled_once_for_all_documents_and_checkpoints(evaluate, monkeypatch):
    env, compiled = lm_eval.utils.env, []
    plain = env.compile

    def counted(source, *args, **options):
        compiled.append(source)
        return plain(source, *args, **options)

    monkeypatch.setattr(env, "compile", counted)
    env.from_string.cache_clear()
    evaluate(suite())
    assert compiled
    assert len(set(compiled)) == len(compiled)
    compiled.clear()
    evaluate(suite(), kept="elsewhere", end="base")
    assert compiled == []


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


def test_what_cut_an_evaluation_short_is_in_its_rows(evaluate):
    assert [row["limit"] for row in evaluate(suite())] == [4, 4]
    assert [row["limit"] for row in evaluate(suite(limit=None))] == [None, None]


# --- batch sizes ----------------------------------------------------------------------------------


def test_a_batch_size_that_lm_eval_chooses_is_in_the_rows(evaluate, monkeypatch):
    fixed, auto = evaluate(suite(batch_size=64)), evaluate(suite(batch_size="auto"))
    assert [row["batch_size"] for row in fixed] == [64, 64]
    assert auto == fixed, "of likelihoods and of generated texts, there is room for as many"
    call = HFLM._model_call

    def crowded(self, inputs, *args, **named):
        if len(inputs) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return call(self, inputs, *args, **named)

    monkeypatch.setattr(HFLM, "_model_call", crowded)
    rows = evaluate(suite(batch_size="auto"), kept="other")
    assert all(1 < row["batch_size"] <= 16 for row in rows), "the largest that had room"


# --- chat templates -------------------------------------------------------------------------------


@pytest.fixture
def prompts(monkeypatch):
    """The contexts that models are asked to go on from, as texts."""
    seen = []
    loglikelihood = HFLM.loglikelihood

    def noted(self, requests, *args, **named):
        seen.extend(request.args[0] for request in requests)
        return loglikelihood(self, requests, *args, **named)

    monkeypatch.setattr(HFLM, "loglikelihood", noted)
    return seen


def test_prompts_are_turns_of_a_chat_if_there_is_a_template(evaluate, prompts):
    specs = {"demo_truth": TRUTH | {"num_fewshot": 2}}
    evaluate(suite(tasks=specs))
    plain = list(prompts)
    assert not any("<user>" in text for text in plain)
    prompts.clear()
    evaluate(suite(tasks=specs, chat_template=CHAT))
    assert len(prompts) == len(plain)
    for text in prompts:
        assert text.startswith("<user>") and text.endswith("</> <assistant> ")
        assert (text.count("<user>"), text.count("<assistant>")) == (3, 3), "two examples"


def test_the_template_is_that_of_the_tokenizer(tiny_pair, tmp_path):
    folder = tmp_path / "post"
    shutil.copytree(tiny_pair()[1], folder)
    with pytest.raises(UserError, match=f"^{folder}: the tokenizer has no chat template; [^\n]+$"):
        models.chat_template(folder)
    (folder / "chat_template.jinja").write_text(CHAT)
    assert models.chat_template(folder) == CHAT


# --- vLLM -----------------------------------------------------------------------------------------


def test_without_vllm_its_backend_is_refused_in_one_line():
    assert backends.packages(suite()) == ["torch", "transformers", "lm_eval"]
    with pytest.raises(UserError, match=r"^[^\n]+ pip install vllm==[^\n]+$"):
        backends.packages(suite(backend="vllm"))


@pytest.mark.parametrize(("gpus", "shares"), [(0, 1), (1, 1), (3, 2), (8, 2)])
def test_vllm_gets_the_folder_and_all_options(tiny_pair, tmp_path, monkeypatch, gpus, shares):
    """As vLLM needs a GPU, what stands in for lm-eval's model of it answers by transformers."""
    made, freed = [], []
    folder = tiny_pair()[1]

    class VLLM(backends.Transformers):
        hf_chat_template = None

        def __init__(self, **options):
            super().__init__(Path(options["pretrained"]), suite(batch_size=2))
            made.append(options)
            engine = SimpleNamespace(shutdown=lambda: freed.append(options["pretrained"]))
            self._model.llm_engine = SimpleNamespace(engine_core=engine)

        def apply_chat_template(self, *args, **named):
            assert self.hf_chat_template == self.tokenizer.chat_template == CHAT
            return super().apply_chat_template(*args, **named)

    monkeypatch.setitem(sys.modules, "lm_eval.models.vllm_causallms", SimpleNamespace(VLLM=VLLM))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.delenv("VLLM_WORKER_MULTIPROC_METHOD", raising=False)
    manager = evaluation.task_manager(["demo_truth"])
    options = {"backend": "vllm", "batch_size": "auto", "chat_template": CHAT}
    specs = suite(tasks={"demo_truth": TRUTH, "demo_math": MATH}, **options)
    rows = evaluation.evaluate(folder, specs, manager, 3)
    [options] = made
    assert options == {
        "pretrained": str(folder),
        "dtype": "float32",
        "batch_size": "auto",
        "seed": 3,
        "tensor_parallel_size": shares,
    }
    assert freed == [str(folder)]
    assert [row["batch_size"] for row in rows] == [None, None]
    plain = evaluation.evaluate(folder, suite(chat_template=CHAT), manager, 3)
    assert [row["value"] for row in rows] == [row["value"] for row in plain]
    json.dumps(rows)


def test_a_process_of_vllm_imports_the_script_without_a_job():
    assert "evaluate_variants" in runpy.run_path(
        str(SCRIPTS / "evaluate_variants.py"), {}, run_name="__mp_main__"
    )
