"""Place the images and labels of a task's split from the hub as Parquet."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from pathlib import Path

from deltaedit.hub_data import download_images

if __name__ == "__main__":
    download_images(
        snakemake.params.source, Path(snakemake.output.images), key=snakemake.params.key
    )
