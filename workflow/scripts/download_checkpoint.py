"""Place a checkpoint in Hugging Face layout: from the hub, or from a folder."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from pathlib import Path

from deltaedit.download import download

if __name__ == "__main__":
    download(
        snakemake.params.source,
        Path(snakemake.output.checkpoint),
        base=next(map(Path, snakemake.input.base), None),
        key=snakemake.params.key,
    )
