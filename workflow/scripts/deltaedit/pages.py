"""Tables as pages for people: one line per variant, rounded, with standard errors."""

from html import escape
from pathlib import Path

import pandas as pd

from deltaedit.files import whole_file

STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #222; }
table { border-collapse: collapse; }
th, td { padding: .25rem .8rem; text-align: right; white-space: nowrap; }
th { position: sticky; top: 0; background: #fff; border-bottom: 2px solid #222; }
td { border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums; }
th:nth-child(-n+3), td:nth-child(-n+3) { text-align: left; white-space: normal; }
"""
NAMES = ["pair", "sweep", "variant"]


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """Spread scores over one column per task (of a suite, where two have it), ± standard error.

    A task whose scores all lie in [0, 1] is shown in %, another (a reward) as it is.
    """
    column = table["task"]
    if (table.groupby("task")["suite"].nunique() > 1).any():
        column = table["suite"] + "/" + column
    percent = table["value"].between(0, 1).groupby(column).transform("all")
    cells = table.assign(
        cell=[_cell(*row) for row in zip(table["value"], table["stderr"], percent, strict=True)],
        column=column + percent.map({True: " (%)", False: ""}),
    )
    columns = list(dict.fromkeys(cells["column"]))
    wide = cells.pivot_table(
        index=NAMES, columns="column", values="cell", aggfunc="first", sort=False
    )
    # A pivot does not keep the order of the variants, and names the axis of its columns.
    order = list(table[NAMES].drop_duplicates().itertuples(index=False))
    return wide.loc[order, columns].reset_index().rename_axis(columns=None)


def _cell(value: float, stderr: float, percent: bool) -> str:
    scale, digits = (100, 1) if percent else (1, 3)
    error = "" if pd.isna(stderr) else f" ± {scale * stderr:.{digits}f}"
    return f"{scale * value:.{digits}f}{error}"


def loss_changes(table: pd.DataFrame) -> pd.DataFrame:
    """Choose the columns of loss changes that a reader compares, in nats.

    A gap beyond the standard error of the measured change is marked by an exclamation mark.
    """
    columns = ["approximate_change", "measured_change", "gap"]
    columns += ["first_order", "second_order", "expected_second_order"]
    columns = [name for name in columns if name in table]
    chosen = table[[*NAMES, "loss", "quadrature", *columns]]
    numbers = {name: chosen[name].map("{:.3g}".format, na_action="ignore") for name in columns}
    numbers["gap"] += table["gap_exceeds_error"].map({True: " !", False: ""})
    for name in ("approximate", "measured"):
        errors = table[f"{name}_stderr"].map(" ± {:.1g}".format, na_action="ignore").fillna("")
        numbers[f"{name}_change"] += errors
    return chosen.assign(**numbers)


def warning(table: pd.DataFrame) -> str:
    """Say how many approximated loss changes miss the measured ones by more than their error."""
    by_rule = table[table["method"].notna()].groupby("quadrature", sort=False)["gap_exceeds_error"]
    missed = ", ".join(f"{rule} {hit.sum()} of {len(hit)}" for rule, hit in by_rule)
    return (
        "Variants whose approximated change misses the measured one by more than its standard"
        f" error, marked by !: {missed}."
    )


def claims(table: pd.DataFrame) -> pd.DataFrame:
    """Round the findings on claims to what a reader compares."""
    numbers = {
        name: table[name].astype(float).map("{:.3g}".format, na_action="ignore")
        for name in ("approximated", "measured")
    }
    shown = table.assign(**numbers, where=table["pair"] + ", " + table["loss"])
    return shown[["claim", "quantity", "where", "approximated", "measured", "verdict"]]


def write(path: str | Path, title: str, table: pd.DataFrame, note: str = "") -> None:
    """Write a table, under a note if there is one, as a page of HTML, whole or not at all."""
    body = table.rename(columns=lambda name: str(name).replace("_", " ")).to_html(
        index=False, border=0, na_rep=""
    )
    note = f"<p>{escape(note)}</p>\n" if note else ""
    page = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n{note}{body}\n</body></html>\n"
    )
    with whole_file(path) as partial:
        partial.write_text(page)
