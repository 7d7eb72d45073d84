"""Find the singular vectors of every matrix of a delta, for all ranks at once."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from deltaedit import files
from deltaedit.checkpoints import Checkpoint
from deltaedit.delta import decompose


def decompose_delta(base: str, post: str, target: str) -> None:
    with files.whole_folder(target) as folder:
        decompose(Checkpoint(base), Checkpoint(post), folder)


if __name__ == "__main__":
    decompose_delta(snakemake.input.base, snakemake.input.post, snakemake.output.vectors)
