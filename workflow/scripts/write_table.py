"""Write one table of the config: its numbers as CSV, and as people read it."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from deltaedit import layouts, results, tables

if __name__ == "__main__":
    spec, output = snakemake.params.table, snakemake.output
    kind, params = tables.parse(spec["kind"], spec["options"])
    table = results.read(snakemake.input.results)
    selected = kind.select(table, params)
    results.write_csv(output.table, results.marked(selected, table))
    texts, notes = kind.lay_out(selected), layouts.notes(table)
    name = snakemake.wildcards.table
    layouts.write_texts(texts, output.markdown, output.latex, name, kind.CAPTION, notes)
