"""Approximate and measure the loss change of every variant of a slice."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deltaedit import loss_change, loss_stage, losses, models, provenance, results, slices
from deltaedit.checkpoints import Checkpoint, content_digest
from deltaedit.memo import Keep


def approximate_loss(
    variants: list[dict[str, Any]],
    keys: dict[str, str],
    base: str,
    post: str,
    gradient: str,
    data: str,
    head: str | None,
    kind: str,
    spec: Mapping[str, Any],
    kept: str,
    made_with: Mapping[str, Any],
) -> list[dict[str, Any]]:
    model, loss = loss_stage.load(kind, spec, base, post, data, head)
    start, origin = loss_change.Start(Path(gradient)), Checkpoint(post)

    def measure(folder: Path, keep: Keep) -> list[dict[str, Any]]:
        segment = loss_change.Segment(model, origin, Checkpoint(folder))
        rules, intervals = spec["quadrature"], spec["intervals"]
        return list(loss_change.rows(segment, loss, rules, intervals, start, keep))

    # A node's slopes are the same in every quadrature.
    at_any_node = {k: v for k, v in spec.items() if k not in ("quadrature", "intervals")}
    made_with = {"post": content_digest(post), "loss": at_any_node, **made_with}
    if losses.takes_reference(spec["kind"]):
        made_with["base"] = content_digest(base)
    return slices.measure(variants, keys, "approximate loss", kept, made_with, measure)


if __name__ == "__main__":
    params, data = snakemake.params, snakemake.input.data
    record = provenance.record(
        snakemake.wildcards.pair,
        {"base": snakemake.input.base, "post": snakemake.input.post},
        "torch",
        "transformers",
        device=models.DEVICE,
        dtype="float32",
        loss=dict(params.loss),
    )
    rows = approximate_loss(
        params.variants,
        dict(snakemake.wildcards),
        snakemake.input.base,
        snakemake.input.post,
        snakemake.input.gradient,
        data,
        snakemake.input.get("head"),
        params.kind,
        dict(params.loss),
        params.kept,
        {
            "code": params.code,
            "data": loss_stage.content(data, snakemake.input.get("head")),
            "versions": record["versions"],
            "device": models.DEVICE,
        },
    )
    results.write_parquet(snakemake.output.slopes, rows, record)
