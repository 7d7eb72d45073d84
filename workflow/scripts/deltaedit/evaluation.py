"""Evaluate checkpoints on a suite of tasks with lm-eval."""

import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import lm_eval.evaluator
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from deltaedit import judge, memo, models, tasks
from deltaedit.errors import UserError
from deltaedit.judge import Judge
from deltaedit.memo import Keep

# simple_evaluate describes the machine at every call, for which it runs pip: half a second per
# variant. Results here carry their own provenance.
lm_eval.evaluator.add_env_info = lambda storage: None


def task_manager(names: list[str]) -> TaskManager:
    """Index the project's tasks, and lm-eval's own only if a name is not among the project's."""
    ours = tasks.shipped()
    return TaskManager(
        include_path=str(tasks.SHIPPED),
        include_defaults=any(name not in ours for name in names),
    )


def evaluate(
    folder: Path,
    suite: Mapping[str, Any],
    manager: TaskManager,
    seed: int,
    keep: Keep = memo.anew,
) -> list[dict[str, Any]]:
    """Evaluate one checkpoint: one row per task, with the suite's metric and its stderr.

    Each task runs as if the suite had no other, so that its numbers depend on no neighbour.

    Args:
        folder: the checkpoint, with its tokenizer.
        suite: `tasks` (name -> metric, filter, num_fewshot, and for the metric `judged` its judge:
            `url`, `model`, `key_variable` and the path of the `document`), `batch_size`, `dtype`,
            `limit`.
        manager: from `task_manager`, made once for all checkpoints.
        seed: of few-shot sampling and everything random in lm-eval.
        keep: of rows, by the suite with that task alone and the seed; the model is loaded when the
            first of them is made.

    Returns:
        Rows with task, task_version, num_fewshot, metric, filter, value, stderr (None where
        lm-eval has none) and count, the number of documents; a judged one also `answers`, with
        question, answer and is_right.

    Raises:
        UserError: a task does not report the suite's metric, or the judge does not answer.
    """

    @cache
    def model() -> HFLM:
        return HFLM(
            pretrained=models.load_causal_lm(folder, getattr(torch, suite["dtype"])),
            tokenizer=models.load_tokenizer(folder),
            batch_size=suite["batch_size"],
        )

    rows = []
    for name, task in suite["tasks"].items():
        spec = {key: value for key, value in task.items() if key != "judge"}
        alone = {**suite, "tasks": {name: spec}}
        make = partial(_evaluate_alone, model, alone, manager, seed)
        row = keep({"suite": alone, "seed": seed}, make)
        rows.append(_judged(row, keep=keep, **task["judge"]) if "judge" in task else row)
    return rows


def _judged(
    row: Mapping[str, Any], *, url: str, model: str, key_variable: str, document: str, keep: Keep
) -> dict[str, Any]:
    """Have the answers of a row judged; what is kept depends on the judge, not on its address."""
    by = Judge(url=url, model=model, key_variable=key_variable)
    text = Path(document).read_text(encoding="utf-8")
    make = partial(judge.judge_all, by, text, row["answers"])
    answers = keep({"answers": row["answers"], "judge": model, "document": text}, make)
    value, stderr = judge.score(answers)
    return {**row, "value": value, "stderr": stderr, "answers": answers}


def _evaluate_alone(
    model: Callable[[], HFLM], suite: Mapping[str, Any], manager: TaskManager, seed: int
) -> dict[str, Any]:
    [(name, task)] = suite["tasks"].items()
    is_judged = task["metric"] == judge.METRIC
    found = lm_eval.evaluator.simple_evaluate(
        model=model(),
        tasks=[name],
        num_fewshot=task["num_fewshot"],
        task_manager=manager,
        limit=suite["limit"],
        log_samples=is_judged,
        random_seed=seed,
        numpy_random_seed=seed,
        torch_random_seed=seed,
        fewshot_random_seed=seed,
    )
    return _answered(name, task, found) if is_judged else _row(name, task, found)


def _row(name: str, task: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    scores = found["results"][name]
    key = f"{task['metric']},{task['filter']}"
    if key not in scores:
        known = sorted(k for k in scores if "," in k and "_stderr" not in k)
        raise UserError(
            f"task {name!r} has no metric,filter {key!r}; it reports {', '.join(known)}"
        )
    stderr = scores.get(f"{task['metric']}_stderr,{task['filter']}")
    return {
        **_described(name, task, found),
        "value": float(scores[key]),
        "stderr": stderr if isinstance(stderr, float) and math.isfinite(stderr) else None,
    }


def _described(name: str, task: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "task": name,
        "task_version": found["versions"].get(name),
        "num_fewshot": task["num_fewshot"],
        "metric": task["metric"],
        "filter": task["filter"],
        "count": found["n-samples"][name]["effective"] if name in found["n-samples"] else None,
    }


def _answered(name: str, task: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without a value yet, with the answers to questions as the filter leaves them."""
    samples = [one for one in found["samples"][name] if one["filter"] == task["filter"]]
    if not samples or not all("question" in one["doc"] for one in samples):
        raise UserError(
            f"task {name!r} has no answers to judge by the filter {task['filter']!r}: a judge takes"
            " a task of questions, each document with the key 'question'"
        )
    answers = [
        {"question": one["doc"]["question"], "answer": str(one["filtered_resps"][0])}
        for one in samples
    ]
    return {**_described(name, task, found), "value": None, "stderr": None, "answers": answers}
