"""Estimate the curvature of a loss at post along the delta, entry by entry."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from collections.abc import Mapping
from statistics import fmean, stdev
from typing import Any

from deltaedit import files, loss_change, loss_stage, models, provenance
from deltaedit.checkpoints import Checkpoint


def estimate_curvature(
    kind: str, spec: Mapping[str, Any], sources: list[str], seed: int, probes: int
) -> dict[str, float]:
    model, loss = loss_stage.load(kind, spec, *sources)
    ends = [Checkpoint(end) for end in sources[:2]]
    draws = [
        loss_change.curvature(loss_change.Probe(model, *ends, seed + i), loss)
        for i in logs.progress(range(probes), "estimate curvature")
    ]
    return {"curvature": fmean(draws), "stderr": stdev(draws) / probes**0.5}


if __name__ == "__main__":
    sources = [snakemake.input.get(name) for name in ("base", "post", "data", "head")]
    kind, spec = snakemake.params.kind, dict(snakemake.params.loss)
    seed, probes = snakemake.params.seed, snakemake.params.probes
    found = estimate_curvature(kind, spec, sources, seed, probes)
    pair, loss = snakemake.wildcards.pair, snakemake.wildcards.loss
    record = provenance.record(
        pair,
        dict(zip(("base", "post"), sources, strict=False)),
        "torch",
        "transformers",
        device=models.DEVICE,
        dtype="float32",
        loss=spec,
        seed=seed,
    )
    value = {"pair": pair, "loss": loss, **found, "provenance": record}
    files.write_json(snakemake.output.curvature, value)
