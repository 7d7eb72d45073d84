"""Turn a GGUF file into a checkpoint in Hugging Face layout."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from pathlib import Path

from deltaedit import gguf

if __name__ == "__main__":
    gguf.unpack(
        Path(snakemake.input.file),
        dict(snakemake.params.source),
        Path(snakemake.output.checkpoint),
    )
