"""Write the edited checkpoints of a slice."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deltaedit import files, provenance
from deltaedit.checkpoints import Checkpoint
from deltaedit.delta import Delta
from deltaedit.edit import write_variant


def edit_delta(
    base: str,
    post: str,
    delta: str,
    variants: list[dict[str, Any]],
    record: Mapping[str, Any],
    target: str,
) -> None:
    pair = Checkpoint(base), Checkpoint(post), Delta(delta)
    with files.whole_folder(target) as folder:
        for variant in variants:
            place = folder / Path(variant["folder"]).name
            place.mkdir()
            write_variant(*pair, variant, place, record)


if __name__ == "__main__":
    base, post = snakemake.input.base, snakemake.input.post
    edit_delta(
        base,
        post,
        snakemake.input.delta,
        snakemake.params.variants,
        provenance.record(
            snakemake.wildcards.pair, {"base": base, "post": post}, "torch", "safetensors"
        ),
        snakemake.output.variants,
    )
