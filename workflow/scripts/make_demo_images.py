"""Make the pictures of a task of the offline demo, those to train on and those to test on."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from deltaedit import files
from deltaedit.demo.write_images import write_images


def make_demo_images(task: str, targets: dict[str, str]) -> None:
    for split, target in targets.items():
        with files.whole_file(target) as partial:
            write_images(task, split, partial)


if __name__ == "__main__":
    make_demo_images(snakemake.wildcards.task, dict(snakemake.output.items()))
