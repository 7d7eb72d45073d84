"""Approximate and measure the loss change of every variant of a slice."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from deltaedit import loss_change, losses, models, provenance, results
from deltaedit.checkpoints import Checkpoint


def approximate_loss(
    variants: list[dict[str, Any]],
    keys: dict[str, str],
    post: str,
    gradient: str,
    data: str,
    spec: Mapping[str, Any],
) -> list[dict[str, Any]]:
    model = models.load_causal_lm(Path(post), torch.float32)
    loss = losses.build(spec, data, models.load_tokenizer(Path(post)))
    start, origin = loss_change.Start(Path(gradient)), Checkpoint(post)
    label = f"approximate loss {keys['pair']}/{keys['sweep']}/{keys['slice']}"
    return [
        {**keys, **results.describe(variant), **row}
        for variant in logs.progress(variants, label)
        for row in loss_change.rows(
            loss_change.Segment(model, origin, Checkpoint(variant["folder"])),
            loss,
            spec["quadrature"],
            spec["intervals"],
            start,
        )
    ]


if __name__ == "__main__":
    params = snakemake.params
    rows = approximate_loss(
        params.variants,
        dict(snakemake.wildcards),
        snakemake.input.post,
        snakemake.input.gradient,
        snakemake.input.data,
        params.loss,
    )
    record = provenance.record(
        snakemake.wildcards.pair,
        {"base": snakemake.input.base, "post": snakemake.input.post},
        "torch",
        "transformers",
        device=models.DEVICE,
        dtype="float32",
        loss=dict(params.loss),
    )
    results.write_parquet(snakemake.output.slopes, rows, record)
