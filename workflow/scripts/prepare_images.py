"""Prepare the pictures of a task for the models of a pair."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from pathlib import Path

from transformers import AutoImageProcessor

from deltaedit import image_tasks, images

if __name__ == "__main__":
    task = image_tasks.load(snakemake.wildcards.task)
    images.prepare(
        Path(snakemake.input.images),
        AutoImageProcessor.from_pretrained(snakemake.input.base),
        len(task.classnames),
        Path(snakemake.output.images),
    )
