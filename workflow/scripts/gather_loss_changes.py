"""Gather the loss changes of all runs into one table."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from deltaedit import pages, results

if __name__ == "__main__":
    curvatures = results.read_curvatures(snakemake.input.get("curvatures", []))
    changes = results.loss_changes(results.read_slopes(snakemake.input.slopes), curvatures)
    results.write_csv(snakemake.output.table, changes)
    pages.write(
        snakemake.output.page,
        "Loss change (nats) of all variants",
        pages.loss_changes(changes),
        pages.warning(changes),
    )
