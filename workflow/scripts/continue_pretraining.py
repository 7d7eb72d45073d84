"""Continue the pretraining of a checkpoint on new text, on one device or on a job's GPUs."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from deltaedit import continual

if __name__ == "__main__":
    continual.run(
        {
            "start": snakemake.input.start,
            "data": snakemake.input.data,
            "spec": dict(snakemake.params.spec),
            "target": snakemake.output.model,
            "work": snakemake.params.kept,
            "code": snakemake.params.code,
        }
    )
