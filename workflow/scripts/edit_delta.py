"""Write the edited checkpoints of a slice."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deltaedit import files, provenance
from deltaedit.checkpoints import Checkpoint
from deltaedit.edit import Sources, write_variants


def edit_delta(
    sources: Sources,
    variants: Sequence[Mapping[str, Any]],
    record: Mapping[str, Any],
    threads: int,
    target: str,
) -> None:
    with files.whole_folder(target) as folder:
        places = [folder / Path(variant["folder"]).name for variant in variants]
        for place in places:
            place.mkdir()
        write_variants(sources, variants, places, record, threads=threads)


def open_sources(paths: Mapping[str, Any]) -> Sources:
    others = [Checkpoint(folder) for folder in paths.get("deltas", [])]
    single = {"base", "post", "gradient", "vectors", "onto"} & paths.keys()
    return Sources(
        **{name: Checkpoint(paths[name]) for name in single},
        deltas=list(zip(others[::2], others[1::2], strict=True)),
    )


if __name__ == "__main__":
    paths = dict(snakemake.input.items())
    ends = {name: paths[name] for name in ("base", "post", "onto") if name in paths}
    ends |= {f"delta {i // 2 + 1} {Path(p).name}": p for i, p in enumerate(paths.get("deltas", []))}
    gradient = {"gradient": Path(paths["gradient"]).name} if "gradient" in paths else {}
    edit_delta(
        open_sources(paths),
        snakemake.params.variants,
        provenance.record(snakemake.wildcards.pair, ends, "numpy", "numba", **gradient),
        snakemake.threads,
        snakemake.output.variants,
    )
