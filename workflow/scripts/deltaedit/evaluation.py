"""Evaluate checkpoints on a suite of tasks with lm-eval."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lm_eval.evaluator
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from deltaedit import models, tasks
from deltaedit.errors import UserError

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
    folder: Path, suite: Mapping[str, Any], manager: TaskManager, seed: int
) -> list[dict[str, Any]]:
    """Evaluate one checkpoint: one row per task, with the suite's metric and its stderr.

    Args:
        folder: the checkpoint, with its tokenizer.
        suite: `tasks` (name -> metric, filter, num_fewshot), `batch_size`, `dtype`, `limit`.
        manager: from `task_manager`, made once for all checkpoints.
        seed: of few-shot sampling and everything random in lm-eval.

    Returns:
        Rows with task, task_version, num_fewshot, metric, filter, value, stderr (None where
        lm-eval has none) and count, the number of documents.

    Raises:
        UserError: a task does not report the suite's metric.
    """
    dtype = getattr(torch, suite["dtype"])
    model = HFLM(
        pretrained=models.load_causal_lm(folder, dtype),
        tokenizer=models.load_tokenizer(folder),
        batch_size=suite["batch_size"],
    )
    rows = []
    for num_fewshot in sorted({task["num_fewshot"] for task in suite["tasks"].values()}):
        names = [n for n, task in suite["tasks"].items() if task["num_fewshot"] == num_fewshot]
        found = lm_eval.evaluator.simple_evaluate(
            model=model,
            tasks=names,
            num_fewshot=num_fewshot,
            task_manager=manager,
            limit=suite["limit"],
            log_samples=False,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
        rows += [_row(name, suite["tasks"][name], found) for name in names]
    return sorted(rows, key=lambda row: list(suite["tasks"]).index(row["task"]))


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
        "task": name,
        "task_version": found["versions"].get(name),
        "num_fewshot": task["num_fewshot"],
        "metric": task["metric"],
        "filter": task["filter"],
        "value": float(scores[key]),
        "stderr": stderr if isinstance(stderr, float) and math.isfinite(stderr) else None,
        "count": found["n-samples"][name]["effective"] if name in found["n-samples"] else None,
    }
