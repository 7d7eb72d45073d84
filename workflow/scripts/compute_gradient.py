"""Compute a loss and its gradient at the post-trained weights of a pair."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

import json
from collections.abc import Mapping
from typing import Any

from safetensors.torch import save_file

from deltaedit import files, loss_change, loss_stage, models, provenance


def compute_gradient(
    kind: str,
    spec: Mapping[str, Any],
    sources: list[str],
    record: Mapping[str, Any],
    target: str,
) -> None:
    model, loss = loss_stage.load(kind, spec, *sources)
    losses_post, gradient = loss_change.gradient(model, loss)
    with files.whole_folder(target) as folder:
        save_file(gradient, folder / "gradient.safetensors")
        text = json.dumps({"losses_post": losses_post, "provenance": record}, indent=2)
        (folder / "loss.json").write_text(text + "\n")


if __name__ == "__main__":
    compute_gradient(
        snakemake.params.kind,
        snakemake.params.loss,
        [snakemake.input.get(name) for name in ("base", "post", "data", "head")],
        provenance.record(
            snakemake.wildcards.pair,
            {"base": snakemake.input.base, "post": snakemake.input.post},
            "torch",
            "transformers",
            device=models.DEVICE,
            dtype="float32",
            loss=dict(snakemake.params.loss),
        ),
        snakemake.output.gradient,
    )
