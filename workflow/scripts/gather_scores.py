"""Gather the evaluation results of all runs into one table."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from deltaedit import pages, results

if __name__ == "__main__":
    scores = results.read_scores(snakemake.input)
    results.write_csv(snakemake.output.table, scores)
    pages.write(snakemake.output.page, "Scores of all variants", pages.scores(scores))
