"""Evaluate checkpoints on a suite of tasks with lm-eval."""

import math
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import lm_eval.evaluator
import nltk
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from deltaedit import memo, models, tasks
from deltaedit.errors import UserError
from deltaedit.memo import Keep

# simple_evaluate describes the machine at every call, for which it runs pip: half a second per
# variant. Results here carry their own provenance.
lm_eval.evaluator.add_env_info = lambda storage: None


def task_manager(names: list[str], data: str | None = None) -> TaskManager:
    """Index the project's tasks, and lm-eval's own only if a name is not among the project's.

    `data` is the folder that tasks read which have no data of their own.
    """
    ours = tasks.shipped()
    return TaskManager(
        include_path=str(tasks.SHIPPED),
        include_defaults=any(name not in ours for name in names),
        metadata={"data": data} if data else None,
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
        suite: `tasks` (name -> metric, filter, num_fewshot and perhaps data, a folder),
            `batch_size`, `dtype`, `limit`.
        manager: from `task_manager`, made once for all checkpoints.
        seed: of few-shot sampling and everything random in lm-eval.
        keep: of rows, by the suite with that task alone and the seed; the model is loaded when the
            first of them is made.

    Returns:
        Rows with task, task_version, num_fewshot, metric, filter, value, stderr (None where
        lm-eval has none) and count, the number of documents, in a group of all its tasks.
        num_fewshot is what ran: lm-eval keeps that of tasks which have no examples.

    Raises:
        UserError: a task does not report the suite's metric.
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
        alone = {**suite, "tasks": {name: task}}
        make = partial(_evaluate_alone, model, alone, manager, seed)
        rows.append(keep({"suite": alone, "seed": seed}, make))
    return rows


def _evaluate_alone(
    model: Callable[[], HFLM], suite: Mapping[str, Any], manager: TaskManager, seed: int
) -> dict[str, Any]:
    [(name, task)] = suite["tasks"].items()
    if "data" in task:
        manager = task_manager([name], task["data"])
    if name in tasks.OF_SENTENCES:
        _fetch_sentences(name)
    found = lm_eval.evaluator.simple_evaluate(
        model=model(),
        tasks=[name],
        num_fewshot=task["num_fewshot"],
        task_manager=manager,
        limit=suite["limit"],
        log_samples=False,
        random_seed=seed,
        numpy_random_seed=seed,
        torch_random_seed=seed,
        fewshot_random_seed=seed,
    )
    return _row(name, task, found)


def _fetch_sentences(name: str) -> None:
    """Have what IFEval counts sentences by, which it would miss after all responses are there."""
    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        if not nltk.download("punkt_tab", quiet=True):
            raise UserError(
                f"task {name!r} needs punkt_tab of nltk, and nltk cannot fetch it here; run where"
                f" there is internet: {sys.executable} -m nltk.downloader punkt_tab"
            ) from None


def _row(name: str, task: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    scores = found["results"].get(name, {})
    key = f"{task['metric']},{task['filter']}"
    if key not in scores:
        known = sorted(k for k in scores if "," in k and "_stderr" not in k)
        reported = ", ".join(known) or "nothing of its own, so name its tasks"
        raise UserError(f"task {name!r} has no metric,filter {key!r}; it reports {reported}")
    stderr = scores.get(f"{task['metric']}_stderr,{task['filter']}")
    return {
        "task": name,
        "task_version": found["versions"].get(name),
        "num_fewshot": found["n-shot"].get(name, task["num_fewshot"]),
        "metric": task["metric"],
        "filter": task["filter"],
        "value": float(scores[key]),
        "stderr": stderr if isinstance(stderr, float) and math.isfinite(stderr) else None,
        "count": scores["sample_len"],
    }
