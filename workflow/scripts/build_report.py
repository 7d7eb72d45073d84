"""Build Snakemake's self-contained report of the figures, tables and run times."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

import subprocess
import sys

from deltaedit import files
from deltaedit.provenance import PROJECT


def build_report(config: str, targets: list[str], target: str) -> None:
    with files.whole_file(target) as partial:
        report = partial.with_suffix(".html")  # Snakemake tells the format by the ending
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")]
        command += ["--configfile", config, "--nolock", "--report", str(report), "--", *targets]
        subprocess.run(command, check=True)
        report.rename(partial)


if __name__ == "__main__":
    build_report(
        snakemake.input.config,
        list(snakemake.input),
        snakemake.output.report,
    )
