"""Place a split of a dataset from the hub as JSON lines."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from pathlib import Path

from deltaedit.hub_data import download

if __name__ == "__main__":
    download(snakemake.params.source, Path(snakemake.output.data), key=snakemake.params.key)
