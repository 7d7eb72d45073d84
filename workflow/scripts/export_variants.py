"""Store the variants of a slice in compact forms: adapter, packed, sparse."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from typing import Any

from deltaedit import files, formats
from deltaedit.checkpoints import Checkpoint


def export_variants(
    base: str,
    post: str,
    vectors: str | None,
    variants: list[dict[str, Any]],
    forms: list[str],
    target: str,
) -> None:
    ends = Checkpoint(base), Checkpoint(post)
    known = {"adapter": {"vectors": Checkpoint(vectors)} if vectors else {}}
    with files.whole_folder(target) as folder:
        for variant in logs.progress(variants, "export variants"):
            checkpoint = Checkpoint(variant["folder"])
            for form in forms:
                place = folder / variant["name"] / form
                place.mkdir(parents=True)
                write = formats.FORMATS[form]
                write(*ends, checkpoint, checkpoint.record(), place, **known.get(form, {}))


if __name__ == "__main__":
    export_variants(
        snakemake.input.base,
        snakemake.input.post,
        snakemake.input.get("vectors"),
        snakemake.params.variants,
        snakemake.params.formats,
        snakemake.output.exports,
    )
