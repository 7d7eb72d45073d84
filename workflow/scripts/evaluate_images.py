"""Evaluate the checkpoints of a slice on a suite of image tasks."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from deltaedit import (
    files,
    image_evaluation,
    image_models,
    image_tasks,
    loss_stage,
    provenance,
    slices,
)
from deltaedit.images import Pictures


def evaluate_images(
    variants: list[dict[str, Any]],
    keys: dict[str, str],
    kind: str,
    suite: Mapping[str, Any],
    post: str,
    sources: dict[str, tuple[str, str | None]],
    kept: str,
    made_with: Mapping[str, Any],
) -> list[dict[str, Any]]:
    tasks = {}
    for task, (folder, head) in sources.items():
        classes = len(image_tasks.load(task).classnames)
        logits = image_models.logits(Path(post), kind, head, classes)
        tasks[task] = Pictures(folder), logits
    # What a task is made of tells its measurements apart, as its options do.
    specs = {
        task: {**spec, "content": loss_stage.content(*sources[task])}
        for task, spec in suite["tasks"].items()
    }
    suite = {**suite, "tasks": specs}
    one = partial(image_evaluation.evaluate, kind=kind, suite=suite, tasks=tasks)
    return slices.measure(variants, keys, "evaluate", kept, made_with, one)


if __name__ == "__main__":
    params, tasks = snakemake.params, list(snakemake.params.suite["tasks"])
    heads = snakemake.input.get("heads") or [None] * len(tasks)
    sources = dict(zip(tasks, zip(snakemake.input.images, heads, strict=True), strict=True))
    record = provenance.record(
        snakemake.wildcards.pair,
        {"base": snakemake.input.base, "post": snakemake.input.post},
        "torch",
        "transformers",
        device=image_models.DEVICE,
        suite=dict(params.suite),
    )
    rows = evaluate_images(
        params.variants,
        dict(snakemake.wildcards),
        params.kind,
        dict(params.suite),
        snakemake.input.post,
        sources,
        params.kept,
        {
            "code": params.code,
            "versions": record["versions"],
            "device": image_models.DEVICE,
        },
    )
    files.write_json(snakemake.output.scores, {"rows": rows, "provenance": record})
