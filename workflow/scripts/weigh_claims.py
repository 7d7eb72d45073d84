"""Hold the papers' claims about loss changes against the results of all runs."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

import pandas as pd

from deltaedit import claims, layouts, results

if __name__ == "__main__":
    scores = snakemake.input.get("scores")
    found = claims.weigh(
        pd.read_csv(snakemake.input.changes), pd.read_csv(scores) if scores else pd.DataFrame()
    )
    results.write_csv(snakemake.output.table, found)
    layouts.write("claims", found, snakemake.output.markdown, snakemake.output.latex)
