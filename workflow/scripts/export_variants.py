"""Store the variants of a slice in compact forms: adapter, packed, sparse."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from pathlib import Path
from typing import Any

from deltaedit import files, formats, provenance, results
from deltaedit.checkpoints import Checkpoint


def export_variants(
    base: str,
    post: str,
    vectors: str | None,
    variants: list[dict[str, Any]],
    forms: list[str],
    keys: dict[str, str],
    target: str,
) -> list[dict[str, Any]]:
    """Write each variant in each form, and return the bytes that its weights take in it."""
    ends = Checkpoint(base), Checkpoint(post)
    known = {"adapter": {"vectors": Checkpoint(vectors)} if vectors else {}}
    rows = []
    with files.whole_folder(target) as folder:
        for variant in logs.progress(variants, "export variants"):
            checkpoint = Checkpoint(variant["folder"])
            for form in forms:
                place = folder / variant["name"] / form
                place.mkdir(parents=True)
                write = formats.FORMATS[form]
                write(*ends, checkpoint, checkpoint.record(), place, **known.get(form, {}))
                found = {"form": form, "bytes": weights(place)}
                found["checkpoint_bytes"] = weights(checkpoint.folder)
                rows.append({**keys, **results.describe(variant), **found})
    return rows


def weights(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


if __name__ == "__main__":
    rows = export_variants(
        snakemake.input.base,
        snakemake.input.post,
        snakemake.input.get("vectors"),
        snakemake.params.variants,
        snakemake.params.formats,
        dict(snakemake.wildcards),
        snakemake.output.exports,
    )
    ends = {"base": snakemake.input.base, "post": snakemake.input.post}
    record = provenance.record(snakemake.wildcards.pair, ends)
    files.write_json(snakemake.output.sizes, {"rows": rows, "provenance": record})
