"""Estimate the curvature of a loss at post along the delta, entry by entry."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from deltaedit import files, loss_change, losses, models, provenance
from deltaedit.checkpoints import Checkpoint

PROBES = 8  # draws of random signs; two gradients each


def estimate_curvature(
    base: str, post: str, data: str, spec: Mapping[str, Any], seed: int
) -> dict[str, float]:
    reference = partial(models.load_for_loss, Path(base), spec)
    # Before the model is loaded: a reference has left memory by then.
    loss = losses.build(spec, data, models.load_tokenizer(Path(post)), reference)
    model = models.load_for_loss(Path(post), spec)
    ends = Checkpoint(base), Checkpoint(post)
    draws = [
        loss_change.curvature(loss_change.Probe(model, *ends, seed + i), loss)
        for i in logs.progress(range(PROBES), "estimate curvature")
    ]
    return {"curvature": fmean(draws), "stderr": stdev(draws) / PROBES**0.5}


if __name__ == "__main__":
    base, post = snakemake.input.base, snakemake.input.post
    spec = dict(snakemake.params.loss)
    found = estimate_curvature(base, post, snakemake.input.data, spec, snakemake.params.seed)
    pair, loss = snakemake.wildcards.pair, snakemake.wildcards.loss
    record = provenance.record(
        pair,
        {"base": base, "post": post},
        "torch",
        "transformers",
        device=models.DEVICE,
        dtype="float32",
        loss=spec,
        seed=snakemake.params.seed,
    )
    value = {"pair": pair, "loss": loss, **found, "provenance": record}
    files.write_json(snakemake.output.curvature, value)
