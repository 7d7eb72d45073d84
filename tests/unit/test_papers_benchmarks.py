"""The papers' benchmarks come out of lm-eval under the metrics and filters that a suite names.

lm-eval's own definitions run, on documents written here in place of the data sets of the hub.
"""

import json
from importlib.util import find_spec
from pathlib import Path

import lm_eval.evaluator
import nltk
import pytest
import yaml
from lm_eval.tasks import TaskManager

from deltaedit import backends, evaluation, tasks
from deltaedit.errors import UserError

from ..project import PLAIN

HARNESS = Path(find_spec("lm_eval").origin).parent / "tasks"
SHORT = {"generation_kwargs": {"until": ["</s>"], "max_gen_toks": 8, "do_sample": False}}

FOUR = {"text": ["a", "b", "c", "d"], "label": ["A", "B", "C", "D"]}
ARC = {"id": "1", "question": "Which?", "choices": FOUR, "answerKey": "B"}
GSM8K = {"question": "What is 1 + 1?", "answer": "1 + 1 = 2\n#### 2"}
HELLASWAG = {
    "ind": 1,
    "activity_label": "Sport",
    "ctx_a": "A man runs.",
    "ctx_b": "he",
    "endings": ["stops.", "flies.", "sings.", "swims."],
    "label": "0",
}
IFEVAL = {
    "key": 1,
    "prompt": "Write without commas, in at least two sentences.",
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [
        {"num_words": None, "relation": None},
        {"num_words": 1, "relation": "at least"},
    ],
}
MMLU = {"question": "Which?", "subject": "s", "choices": FOUR["text"], "answer": 1}
TRUTHFULQA = {
    "question": "Which?",
    "mc1_targets": {"choices": ["a", "b"], "labels": [1, 0]},
    "mc2_targets": {"choices": ["a", "b", "c"], "labels": [1, 1, 0]},
}
WINOGRANDE = {"sentence": "Ann saw Bo as _ ran.", "option1": "Ann", "option2": "Bo", "answer": "1"}
MMLU_PRO = {
    "question": "Which?",
    "options": FOUR["text"],
    "answer": "B",
    "answer_index": 1,
    "cot_content": "A: Let's think step by step. The answer is (B).",
    "category": "law",
}
MATH = {
    "problem": "What is $1 + 1$?",
    "solution": "It is $\\boxed{2}$.",
    "level": "1",
    "type": "Algebra",
}
GPQA = {"Question": "Which?", "Correct Answer": "a"} | {
    f"Incorrect Answer {i}": word for i, word in enumerate("bcd", start=1)
}
MGSM = {"question": "Was ist 1 + 1?", "answer": None, "answer_number": 2, "equation_solution": None}

# Where a task stands in lm-eval, a document of it, and what the papers report of it.
BENCHMARKS = {
    "arc_challenge": ("arc/arc_challenge", ARC, ["acc_norm,none"]),
    "gsm8k": ("gsm8k/gsm8k", GSM8K, ["exact_match,strict-match", "exact_match,flexible-extract"]),
    "gsm8k_cot": ("gsm8k/gsm8k-cot", GSM8K, ["exact_match,strict-match"]),
    "hellaswag": ("hellaswag/hellaswag", HELLASWAG, ["acc_norm,none"]),
    "ifeval": ("ifeval/ifeval", IFEVAL, ["prompt_level_strict_acc,none"]),
    "truthfulqa_mc2": ("truthfulqa/truthfulqa_mc2", TRUTHFULQA, ["acc,none"]),
    "winogrande": ("winogrande/default", WINOGRANDE, ["acc,none"]),
    "minerva_math_algebra": (
        "minerva_math/minerva_math_algebra",
        MATH,
        ["exact_match,none", "math_verify,none"],
    ),
    "hendrycks_math_algebra": (
        "hendrycks_math/hendrycks_math_algebra",
        MATH,
        ["exact_match,none"],
    ),
    "gpqa_main_cot_zeroshot": (
        "gpqa/cot_zeroshot/gpqa_main_cot_zeroshot",
        GPQA,
        ["exact_match,flexible-extract"],
    ),
    "gpqa_main_n_shot": ("gpqa/n_shot/gpqa_main_n_shot", GPQA, ["acc,none"]),
    "mgsm_native_cot_de": (
        "mgsm/native_cot/mgsm_native_cot_de",
        MGSM,
        ["exact_match,strict-match", "exact_match,flexible-extract"],
    ),
}
GROUPS = {
    "mmlu": (
        ["mmlu/default/mmlu_anatomy", "mmlu/default/mmlu_virology"],
        "mmlu/default/_mmlu",
        MMLU,
        "acc,none",
    ),
    "mmlu_pro": (
        ["mmlu_pro/mmlu_pro_law"],
        "mmlu_pro/_mmlu_pro",
        MMLU_PRO,
        "exact_match,custom-extract",
    ),
    "minerva_math": (
        ["minerva_math/minerva_math_algebra", "minerva_math/minerva_math_geometry"],
        "benchmarks/minerva_math",
        MATH,
        "exact_match,none",
    ),
}


@pytest.fixture
def sentences(tmp_path, monkeypatch):
    """Let nltk find, on this machine, what IFEval counts sentences by (no document here does)."""
    (tmp_path / "nltk_data/tokenizers/punkt_tab").mkdir(parents=True)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk_data")])


@pytest.fixture
def evaluate(tiny_pair, tmp_path, sentences):
    """Return a function that evaluates one benchmark on a tiny model and returns its row."""

    def run(name, key, num_fewshot=0):
        metric, filter_name = key.split(",")
        spec = {"metric": metric, "filter": filter_name, "num_fewshot": num_fewshot}
        suite = {"tasks": {name: spec}, "batch_size": 4, "dtype": "float32", "limit": None, **PLAIN}
        manager = TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False)
        [row] = evaluation.evaluate(tiny_pair()[1], suite, manager, 0)
        return row

    (tmp_path / "tasks").mkdir()
    return run


def write_task(folder, place, document, count=2):
    """Put a task of lm-eval's into a folder, with documents on disk; return its name."""
    task = lm_eval.tasks._yaml_loader.load_yaml(HARNESS / f"{place}.yaml", resolve_func=False)
    file = folder / f"{task['task']}.json"
    file.write_text("".join(json.dumps(document) + "\n" for _ in range(count)))
    splits = {task.get(f"{split}_split") for split in ("training", "validation", "test", "fewshot")}
    local = {
        "include": str(HARNESS / f"{place}.yaml"),
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": dict.fromkeys(filter(None, splits), str(file))},
        **(SHORT if task["output_type"] == "generate_until" else {}),
    }
    (folder / f"{task['task']}.yaml").write_text(yaml.safe_dump(local))
    return task["task"]


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name, (*_, keys) in BENCHMARKS.items() for key in keys]
)
def test_a_benchmark_reports_what_the_papers_do(evaluate, tmp_path, name, key):
    place, document, _ = BENCHMARKS[name]
    assert tasks.find(name) is None
    assert write_task(tmp_path / "tasks", place, document) == name
    row = evaluate(name, key)
    assert (f"{row['metric']},{row['filter']}", row["count"]) == (key, 2)
    assert isinstance(row["value"], float) and 0 <= row["value"] <= 1
    assert isinstance(row["stderr"], float)
    assert isinstance(row["task_version"], float), "of lm-eval's own task"


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_reports_its_mean_over_the_documents_of_all_its_tasks(evaluate, tmp_path, name):
    places, group, document, key = GROUPS[name]
    folder = tmp_path / "tasks"
    members = [write_task(folder, place, document, 2 + i) for i, place in enumerate(places)]
    spec = yaml.safe_load((HARNESS / f"{group}.yaml").read_text())
    assert spec["group"] == name
    # As MMLU has it, some of its tasks in a group of their own.
    inner = spec | {"group": f"{name}_some", "task": members[:1]}
    (folder / f"{name}_some.yaml").write_text(yaml.safe_dump(inner))
    whole = spec | {"task": [f"{name}_some", *members[1:]]}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(whole))
    assert tasks.find(name) is None
    row = evaluate(name, key, num_fewshot=1)
    parts = [evaluate(member, key, num_fewshot=1) for member in members]
    total = sum(part["count"] for part in parts)
    assert row["count"] == total == sum(2 + i for i in range(len(places)))
    mean = sum(part["value"] * part["count"] for part in parts) / total
    assert row["value"] == pytest.approx(mean)
    assert row["task_version"] == str(spec["metadata"]["version"])
    assert row["num_fewshot"] == 1
    assert isinstance(row["stderr"], float)


def test_a_right_answer_counts(evaluate, tmp_path, monkeypatch):
    write_task(tmp_path / "tasks", *BENCHMARKS["ifeval"][:2])
    write_task(tmp_path / "tasks", *BENCHMARKS["gsm8k"][:2])
    answers = ["It is 2 #### 2", "It is not, I say: 1"]
    monkeypatch.setattr(
        backends.HFLM, "generate_until", lambda self, requests, **_: answers[: len(requests)]
    )
    assert evaluate("ifeval", "prompt_level_strict_acc,none")["value"] == 0.5
    assert evaluate("gsm8k", "exact_match,strict-match")["value"] == 0.5
    assert evaluate("gsm8k", "exact_match,flexible-extract")["value"] == 0.5


def test_the_number_of_examples_is_what_ran(evaluate, tmp_path):
    write_task(tmp_path / "tasks", *BENCHMARKS["ifeval"][:2])
    row = evaluate("ifeval", "prompt_level_strict_acc,none", num_fewshot=5)
    assert row["num_fewshot"] == 0, "lm-eval's ifeval has none, whatever is asked"
    write_task(tmp_path / "tasks", *BENCHMARKS["arc_challenge"][:2])
    assert evaluate("arc_challenge", "acc_norm,none", num_fewshot=1)["num_fewshot"] == 1


def test_ifeval_does_not_begin_without_what_it_ends_with(evaluate, tmp_path, monkeypatch):
    write_task(tmp_path / "tasks", *BENCHMARKS["ifeval"][:2])
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setattr(nltk, "download", lambda *args, **options: False)
    monkeypatch.setattr(lm_eval.evaluator, "simple_evaluate", None)
    with pytest.raises(UserError, match=r"needs punkt_tab of nltk.*-m nltk\.downloader punkt_tab"):
        evaluate("ifeval", "prompt_level_strict_acc,none")


def test_a_group_without_a_score_is_refused_in_words(evaluate, tmp_path):
    member = write_task(tmp_path / "tasks", *BENCHMARKS["gsm8k"][:2])
    (tmp_path / "tasks/some.yaml").write_text(yaml.safe_dump({"group": "some", "task": [member]}))
    with pytest.raises(UserError, match=r"'acc,none'; it reports nothing of its own, so name"):
        evaluate("some", "acc,none")
    with pytest.raises(
        UserError, match=r"reports exact_match,flexible-extract, exact_match,strict"
    ):
        evaluate(member, "acc,none")


def test_a_tag_is_no_task():
    with pytest.raises(ValueError, match="unknown task 'global_mmlu_full_am_stem_tasks'"):
        tasks.find("global_mmlu_full_am_stem_tasks")


@pytest.mark.parametrize(
    ("name", "package", "message"),
    [
        ("ifeval", "langdetect", r"needs langdetect; run: .* -m pip install 'lm_eval\[ifeval\]=="),
        ("minerva_math", "math_verify", r"needs math_verify; run: .*'lm_eval\[math\]==0"),
        ("minerva_math500", "math_verify", r"needs math_verify; run: .*'lm_eval\[math\]==0"),
    ],
)
def test_packages_of_lm_eval_s_extras_are_asked_for(monkeypatch, name, package, message):
    tasks.check_packages(name)
    version = tasks.metadata.version

    def without(asked):
        if asked == package:
            raise tasks.metadata.PackageNotFoundError(asked)
        return version(asked)

    monkeypatch.setattr(tasks.metadata, "version", without)
    with pytest.raises(ValueError, match=message):
        tasks.check_packages(name)
    tasks.check_packages("gsm8k")
