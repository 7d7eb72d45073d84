"""Train one stage of a world of the offline demo."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from pathlib import Path

from deltaedit import demo, files


def train_demo_checkpoint(world: str, stage: str, start: list[str], seed: int, target: str) -> None:
    trainer = demo.load(world)
    if start:
        model, processor = trainer.fine_tune(Path(start[0]), stage, seed)
    else:
        model, processor = trainer.pretrain(seed)
    with files.whole_folder(target) as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)


if __name__ == "__main__":
    train_demo_checkpoint(
        snakemake.wildcards.world,
        snakemake.wildcards.stage,
        list(snakemake.input),
        snakemake.params.seed,
        snakemake.output.checkpoint,
    )
