"""Delta parameter editing: the library behind the workflow, without Snakemake."""
