"""Train one stage of the offline demo's language model."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from pathlib import Path

from deltaedit import files
from deltaedit.demo import training


def train_demo_checkpoint(stage: str, start: list[str], seed: int, target: str) -> None:
    if start:
        model, tokenizer = training.fine_tune(Path(start[0]), stage, seed)
    else:
        model, tokenizer = training.pretrain(seed)
    with files.whole_folder(target) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    train_demo_checkpoint(
        snakemake.wildcards.stage,
        list(snakemake.input),
        snakemake.params.seed,
        snakemake.output.checkpoint,
    )
