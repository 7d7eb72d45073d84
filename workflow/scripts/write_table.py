"""Write one table of the config: its numbers as CSV, and as people read it."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from deltaedit import layouts, results, tables

if __name__ == "__main__":
    spec, output = snakemake.params.table, snakemake.output
    kind, params = tables.parse(spec["kind"], spec["options"])
    selected = kind.select(results.read(snakemake.input.results), params)
    results.write_csv(output.table, selected)
    texts = kind.lay_out(selected)
    name = snakemake.wildcards.table
    layouts.write_texts(texts, output.markdown, output.latex, name, kind.CAPTION)
