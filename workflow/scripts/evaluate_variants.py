"""Evaluate the checkpoints of a slice on a suite of tasks."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deltaedit import evaluation, files, models, provenance, results


def evaluate_variants(
    variants: list[dict[str, Any]], keys: dict[str, str], suite: Mapping[str, Any], seed: int
) -> list[dict[str, Any]]:
    manager = evaluation.task_manager(list(suite["tasks"]))
    label = f"evaluate {keys['pair']}/{keys['sweep']}/{keys['slice']}"
    return [
        {**keys, **results.describe(variant), **row}
        for variant in logs.progress(variants, label)
        for row in evaluation.evaluate(Path(variant["folder"]), suite, manager, seed)
    ]


if __name__ == "__main__":
    params = snakemake.params
    rows = evaluate_variants(params.variants, dict(snakemake.wildcards), params.suite, params.seed)
    record = provenance.record(
        snakemake.wildcards.pair,
        {"base": snakemake.input.base, "post": snakemake.input.post},
        "torch",
        "transformers",
        "lm_eval",
        device=models.DEVICE,
        suite=dict(params.suite),
        seed=params.seed,
    )
    files.write_json(snakemake.output.scores, {"rows": rows, "provenance": record})
