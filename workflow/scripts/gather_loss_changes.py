"""Gather the loss changes of all runs into one table."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from deltaedit import results

if __name__ == "__main__":
    slopes = results.read_slopes(snakemake.input)
    results.write_csv(snakemake.output.table, results.loss_changes(slopes))
