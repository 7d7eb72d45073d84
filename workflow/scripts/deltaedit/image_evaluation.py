"""Evaluate checkpoints on image tasks: the share of pictures whose class is found."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from deltaedit import image_models, image_tasks
from deltaedit.image_models import Logits
from deltaedit.images import Pictures


def evaluate(
    folder: Path,
    kind: str,
    suite: Mapping[str, Any],
    tasks: Mapping[str, tuple[Pictures, Logits]],
) -> list[dict[str, Any]]:
    """Evaluate one checkpoint: one row per task, with its accuracy (top 1) and standard error.

    Args:
        folder: the checkpoint's.
        kind: of its pair.
        suite: `tasks`, `batch_size`, `dtype` and `limit`.
        tasks: of each task in the suite the pictures, and how a model tells their classes.

    Returns:
        Rows with task, metric, filter, value in [0, 1], stderr, that of a mean of n zeros and
        ones, and count, the number of pictures; as `evaluation.evaluate` has them.
    """
    dtype = getattr(torch, suite["dtype"])
    model = image_models.load(folder, kind, dtype)
    rows = []
    for task, (pictures, logits) in tasks.items():
        count = min(len(pictures), suite["limit"] or len(pictures))
        right = 0
        with torch.inference_mode():
            for start in range(0, count, suite["batch_size"]):
                stop = min(start + suite["batch_size"], count)
                pixels = pictures.pixels(start, stop, image_models.DEVICE).to(dtype)
                found = logits(model, pixels).argmax(dim=1).cpu()
                right += (found == pictures.labels[start:stop]).sum().item()
        accuracy = right / count
        rows.append(
            {
                "task": task,
                "task_version": None,
                "num_fewshot": 0,
                "metric": image_tasks.METRIC,
                "filter": "none",
                "value": accuracy,
                "stderr": math.sqrt(accuracy * (1 - accuracy) / max(count - 1, 1)),
                "count": count,
            }
        )
    return rows
