"""Gather the evaluation results of all runs into one table."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from deltaedit import results

if __name__ == "__main__":
    results.write_csv(snakemake.output.table, results.read_scores(snakemake.input))
