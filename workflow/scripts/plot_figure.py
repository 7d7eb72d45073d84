"""Draw one figure: SVG, PNG, and the numbers drawn as CSV."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from collections.abc import Mapping
from typing import Any

from deltaedit import figures, results
from deltaedit.figures import _style


def plot_figure(paths: list[str], spec: Mapping[str, Any], svg: str, png: str, csv: str) -> None:
    kind, params = figures.parse(spec["kind"], spec["options"])
    table = results.read(paths)
    drawn = kind.select(table, params)
    results.write_csv(csv, results.marked(drawn, table))
    figure = kind.draw(drawn, params)
    if said := results.limited(table):
        _style.add_note(figure, said)
    _style.save(figure, svg, png)


if __name__ == "__main__":
    output = snakemake.output
    plot_figure(
        snakemake.input.results, snakemake.params.figure, output.svg, output.png, output.drawn
    )
