"""What several figures ask of their tables' rows."""

from typing import Any

import pandas as pd

from deltaedit import results
from deltaedit.errors import UserError
from deltaedit.sweeps import ENDS


def groups(rows: pd.DataFrame, keys: list[str]) -> Any:
    """Group rows by `keys` in the order in which they come; missing options are a group too."""
    return rows.groupby(keys, dropna=False, sort=False, observed=True)


def over_seeds(rows: pd.DataFrame, point: list[str]) -> pd.DataFrame:
    """Return the mean score over seeds at each point, a row per different values of `point`.

    Two sweeps may share a variant: it counts once.

    Args:
        rows: with a seed, value and stderr, one per variant and task.
        point: the columns that tell points apart.

    Returns:
        `point`, value, stderr (of the mean over seeds if there are several, else the evaluation's)
        and seeds, their number.
    """
    rows = rows.assign(stderr=rows["stderr"].astype(float))
    seeds = groups(rows, [*point, "seed"])[["value", "stderr"]].mean().reset_index()
    drawn = groups(seeds, point).agg(
        over_seeds=("value", "sem"),
        value=("value", "mean"),
        stderr=("stderr", "mean"),
        seeds=("value", "size"),
    )
    drawn["stderr"] = drawn["over_seeds"].where(drawn["seeds"] > 1, drawn["stderr"])
    return drawn.drop(columns="over_seeds").reset_index()


def ends(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of base and post."""
    return table[table["sweep"] == ENDS]


def of(table: pd.DataFrame, method: str, **options: Any) -> pd.DataFrame:
    """Return the rows of a method's variants with these options; UserError if there are none."""
    rows = table[table["method"].isin([method])]
    for name, value in options.items():
        rows = rows[results.has(rows, name, value)]
    if rows.empty:
        wanted = "".join(f", {name} {value}" for name, value in options.items())
        raise UserError(f"nothing to draw: no variant of {method}{wanted}")
    return rows


def one_value(rows: pd.DataFrame, *names: str) -> None:
    """Raise UserError if variants differ in an option that the figure does not draw."""
    for name in names:
        if len(found := rows[name].dropna().unique()) > 1:
            raise UserError(
                f"the figure's sweeps have several values of {name}"
                f" ({', '.join(map(str, found))}); name the sweeps to draw"
            )


def one_pair(rows: pd.DataFrame) -> None:
    """Raise UserError if rows are of several pairs: their mean says nothing."""
    if rows["pair"].nunique() > 1:
        raise UserError("this figure draws one pair; give each pair a figure of its own")


def one_selection(rows: pd.DataFrame) -> None:
    """Raise UserError if variants differ in the tensors they edit: their mean says nothing."""
    found = sorted(rows["tensors"].dropna().unique()) if "tensors" in rows else []
    if len(found) > 1:
        raise UserError(
            f"the figure's sweeps edit different tensors ({' and '.join(map(str, found))});"
            " draw a figure for each"
        )
