"""Say of every variant and method whether it improves, keeps or loses the post-trained model."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

import pandas as pd

from deltaedit import layouts, results, verdicts

if __name__ == "__main__":
    output = snakemake.output
    scores, changes = (
        pd.read_csv(path) if (path := snakemake.input.get(name)) else pd.DataFrame()
        for name in ("scores", "changes")
    )
    variants = results.marked(verdicts.of_variants(scores, changes), scores)
    results.write_csv(output.variants, variants)
    layouts.write("variants", variants, output.variants_markdown, output.variants_latex)
    by_method = results.marked(verdicts.by_method(variants), scores)
    results.write_csv(output.table, by_method)
    layouts.write("verdicts", by_method, output.markdown, output.latex)
