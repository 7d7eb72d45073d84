"""Evaluate the checkpoints of a slice on a suite of tasks."""

from deltaedit import logs

if __name__ == "__main__":  # not in the processes of vLLM, which import this file
    logs.to_file(snakemake.log[0])  # before the imports that can fail

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from deltaedit import backends, digest, evaluation, files, models, provenance, slices, tasks


def evaluate_variants(
    variants: list[dict[str, Any]],
    keys: dict[str, str],
    suite: Mapping[str, Any],
    seed: int,
    kept: str,
    made_with: Mapping[str, Any],
    allow_code: bool = False,
) -> list[dict[str, Any]]:
    manager = evaluation.task_manager(list(suite["tasks"]))
    # What a task is made of tells its measurements apart, as its options do.
    specs = {}
    for name, spec in suite["tasks"].items():
        data = tasks.data_files(name, Path(spec["data"])) if "data" in spec else []
        specs[name] = {**spec, "content": digest.of_files([*tasks.files([name]), *data])}
    suite = {**suite, "tasks": specs}
    one = partial(
        evaluation.evaluate, suite=suite, manager=manager, seed=seed, allow_code=allow_code
    )
    return slices.measure(variants, keys, "evaluate", kept, made_with, one)


if __name__ == "__main__":
    params = snakemake.params
    suite = dict(params.suite)
    packages = backends.packages(suite)
    if suite["chat_template"]:
        suite["chat_template"] = models.chat_template(Path(snakemake.input.post))
    record = provenance.record(
        snakemake.wildcards.pair,
        {"base": snakemake.input.base, "post": snakemake.input.post},
        *packages,
        device=models.DEVICE,
        suite=suite,
        seed=params.seed,
    )
    rows = evaluate_variants(
        params.variants,
        dict(snakemake.wildcards),
        suite,
        params.seed,
        params.kept,
        {
            "code": params.code,
            "versions": record["versions"],
            "device": models.DEVICE,
        },
        params.allow_code,
    )
    files.write_json(snakemake.output.scores, {"rows": rows, "provenance": record})
