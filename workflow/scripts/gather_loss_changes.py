"""Gather the loss changes of all runs into one table."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from deltaedit import layouts, results

if __name__ == "__main__":
    curvatures = results.read_curvatures(snakemake.input.get("curvatures", []))
    changes = results.loss_changes(results.read_slopes(snakemake.input.slopes), curvatures)
    results.write_csv(snakemake.output.table, changes)
    layouts.write("loss_changes", changes, snakemake.output.markdown, snakemake.output.latex)
