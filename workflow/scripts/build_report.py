"""Build the report: the answer, figures, tables, config and run times of a study in one file."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from deltaedit import report
from deltaedit.report import origins, runtimes

if __name__ == "__main__":
    source, params = snakemake.input, snakemake.params
    report.write(
        snakemake.output.report,
        config=source.config,
        figures=source.get("figures", []),
        tables=[report.table(path, params.tables) for path in source.get("tables", [])],
        variants=source.get("variants"),
        verdicts=source.get("verdicts"),
        runtimes=runtimes.read("benchmarks", params.rules),
        provenance=origins.read(source.get("results", [])),
    )
