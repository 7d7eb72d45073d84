"""Store the variants of a slice in compact forms: adapter, packed, sparse."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from typing import Any

from deltaedit import files, formats
from deltaedit.checkpoints import Checkpoint


def export_variants(
    base: str, post: str, variants: list[dict[str, Any]], forms: list[str], target: str
) -> None:
    ends = Checkpoint(base), Checkpoint(post)
    with files.whole_folder(target) as folder:
        for variant in logs.progress(variants, "export variants"):
            checkpoint = Checkpoint(variant["folder"])
            for form in forms:
                place = folder / variant["name"] / form
                place.mkdir(parents=True)
                formats.FORMATS[form](*ends, checkpoint, checkpoint.record(), place)


if __name__ == "__main__":
    export_variants(
        snakemake.input.base,
        snakemake.input.post,
        snakemake.params.variants,
        snakemake.params.formats,
        snakemake.output.exports,
    )
