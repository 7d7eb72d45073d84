"""Gather the evaluation results of all runs into one table."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from deltaedit import layouts, results

if __name__ == "__main__":
    scores = results.read_scores(snakemake.input)
    results.write_csv(snakemake.output.table, scores)
    layouts.write("scores", scores, snakemake.output.markdown, snakemake.output.latex)
