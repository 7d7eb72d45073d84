"""Compute a loss and its gradient at the post-trained weights of a pair."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from deltaedit import files, loss_change, losses, models, provenance


def compute_gradient(
    base: str, post: str, data: str, spec: Mapping[str, Any], record: Mapping[str, Any], target: str
) -> None:
    reference = partial(models.load_for_loss, Path(base), spec)
    # Before the model is loaded: a reference has left memory by then.
    loss = losses.build(spec, data, models.load_tokenizer(Path(post)), reference)
    model = models.load_for_loss(Path(post), spec)
    losses_post, gradient = loss_change.gradient(model, loss)
    with files.whole_folder(target) as folder:
        save_file(gradient, folder / "gradient.safetensors")
        text = json.dumps({"losses_post": losses_post, "provenance": record}, indent=2)
        (folder / "loss.json").write_text(text + "\n")


if __name__ == "__main__":
    compute_gradient(
        snakemake.input.base,
        snakemake.input.post,
        snakemake.input.data,
        snakemake.params.loss,
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
