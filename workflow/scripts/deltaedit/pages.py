"""Tables as pages for people: one line per variant, rounded, with standard errors."""

from pathlib import Path

import pandas as pd

from deltaedit.files import whole_file

STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #222; }
table { border-collapse: collapse; }
th, td { padding: .25rem .8rem; text-align: right; white-space: nowrap; }
th { position: sticky; top: 0; background: #fff; border-bottom: 2px solid #222; }
td { border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums; }
th:nth-child(-n+3), td:nth-child(-n+3) { text-align: left; }
"""
NAMES = ["pair", "sweep", "variant"]


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """Spread scores over one column per suite and task: accuracy in % ± its standard error."""
    cells = table.assign(
        cell=[_percent(*row) for row in zip(table["value"], table["stderr"], strict=True)],
        column=table["task"]
        if table["suite"].nunique() == 1
        else table["suite"] + "/" + table["task"],
    )
    columns = list(dict.fromkeys(cells["column"]))
    wide = cells.pivot_table(
        index=NAMES, columns="column", values="cell", aggfunc="first", sort=False
    )
    return wide[columns].reset_index()


def _percent(value: float, stderr: float) -> str:
    error = "" if pd.isna(stderr) else f" ± {100 * stderr:.1f}"
    return f"{100 * value:.1f}{error}"


def loss_changes(table: pd.DataFrame) -> pd.DataFrame:
    """Choose the columns of loss changes that a reader compares, in nats."""
    columns = ["approximate_change", "measured_change", "gap"]
    columns += ["first_order", "second_order", "expected_second_order"]
    columns = [name for name in columns if name in table]
    chosen = table[[*NAMES, "loss", *columns]]
    numbers = {name: chosen[name].map("{:.3g}".format, na_action="ignore") for name in columns}
    for name in ("approximate", "measured"):
        if f"{name}_stderr" in table:
            errors = table[f"{name}_stderr"].map(" ± {:.1g}".format, na_action="ignore").fillna("")
            numbers[f"{name}_change"] += errors
    return chosen.assign(**numbers)


def write(path: str | Path, title: str, table: pd.DataFrame) -> None:
    """Write a table as a page of HTML, whole or not at all."""
    body = table.rename(columns=lambda name: str(name).replace("_", " ")).to_html(
        index=False, border=0, na_rep=""
    )
    page = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n{body}\n</body></html>\n"
    )
    with whole_file(path) as partial:
        partial.write_text(page)
