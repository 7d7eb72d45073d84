"""Say of every variant and method whether it improves, keeps or loses the post-trained model."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

import pandas as pd

from deltaedit import layouts, results, verdicts

if __name__ == "__main__":
    scores, changes = (
        pd.read_csv(path) if (path := snakemake.input.get(name)) else pd.DataFrame()
        for name in ("scores", "changes")
    )
    variants = results.marked(verdicts.of_variants(scores, changes), scores)
    results.write_csv(snakemake.output.variants, variants)
    by_method = results.marked(verdicts.by_method(variants), scores)
    results.write_csv(snakemake.output.table, by_method)
    layouts.write("verdicts", by_method, snakemake.output.markdown, snakemake.output.latex)
