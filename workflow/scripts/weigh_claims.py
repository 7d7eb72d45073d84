"""Hold the papers' claims about loss changes against the results of all runs."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

import pandas as pd

from deltaedit import claims, layouts, results

if __name__ == "__main__":
    path = snakemake.input.get("scores")
    scores = pd.read_csv(path) if path else pd.DataFrame()
    found = claims.weigh(pd.read_csv(snakemake.input.changes), scores)
    found = results.marked(found, scores)
    results.write_csv(snakemake.output.table, found)
    layouts.write("claims", found, snakemake.output.markdown, snakemake.output.latex)
