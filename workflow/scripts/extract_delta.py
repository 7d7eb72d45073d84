"""Extract the delta of a pair, exactly, with statistics per tensor."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from deltaedit import files
from deltaedit.checkpoints import Checkpoint
from deltaedit.delta import extract


def extract_delta(base: str, post: str, target: str) -> None:
    with files.whole_folder(target) as folder:
        extract(Checkpoint(base), Checkpoint(post), folder)


if __name__ == "__main__":
    extract_delta(snakemake.input.base, snakemake.input.post, snakemake.output.delta)
