"""Evaluate checkpoints on image tasks: the share of pictures whose class is found."""

import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deltaedit import image_models, image_tasks, memo
from deltaedit.image_models import Logits
from deltaedit.images import Pictures
from deltaedit.memo import Keep


def evaluate(
    folder: Path,
    kind: str,
    suite: Mapping[str, Any],
    tasks: Mapping[str, tuple[Pictures, Logits]],
    keep: Keep = memo.anew,
) -> list[dict[str, Any]]:
    """Evaluate one checkpoint: one row per task, with its accuracy (top 1) and standard error.

    Args:
        folder: the checkpoint's.
        kind: of its pair.
        suite: `tasks`, `batch_size`, `dtype` and `limit`.
        tasks: of each task in the suite the pictures, and how a model tells their classes.
        keep: of rows, by the kind and the suite with that task alone; the model is loaded when the
            first of them is made.

    Returns:
        Rows with task, metric, filter, value in [0, 1], stderr, that of a mean of n zeros and
        ones, count, the number of pictures, batch_size and limit; as `evaluation.evaluate` has
        them.
    """
    model = cache(partial(image_models.load, folder, kind, getattr(torch, suite["dtype"])))
    rows = []
    for task, (pictures, logits) in tasks.items():
        alone = {**suite, "tasks": {task: suite["tasks"][task]}}
        make = partial(_evaluate_alone, model, alone, pictures, logits)
        rows.append(keep({"suite": alone, "kind": kind}, make))
    return rows


def _evaluate_alone(
    model: Callable[[], nn.Module], suite: Mapping[str, Any], pictures: Pictures, logits: Logits
) -> dict[str, Any]:
    [task] = suite["tasks"]
    dtype = getattr(torch, suite["dtype"])
    count = min(len(pictures), suite["limit"] or len(pictures))
    right = 0
    with torch.inference_mode():
        for start in range(0, count, suite["batch_size"]):
            stop = min(start + suite["batch_size"], count)
            pixels = pictures.pixels(start, stop, image_models.DEVICE).to(dtype)
            found = logits(model(), pixels).argmax(dim=1).cpu()
            right += (found == pictures.labels[start:stop]).sum().item()
    accuracy = right / count
    return {
        "task": task,
        "task_version": None,
        "num_fewshot": 0,
        "metric": image_tasks.METRIC,
        "filter": "none",
        "value": accuracy,
        "stderr": math.sqrt(accuracy * (1 - accuracy) / max(count - 1, 1)),
        "count": count,
        "batch_size": suite["batch_size"],
        "limit": suite["limit"],
    }
