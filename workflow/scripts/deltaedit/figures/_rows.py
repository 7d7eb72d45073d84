"""What several figures ask of their tables' rows."""

from typing import Any

import pandas as pd

from deltaedit.errors import UserError


def groups(rows: pd.DataFrame, keys: list[str]) -> Any:
    """Group rows by `keys` in the order in which they come; missing options are a group too."""
    return rows.groupby(keys, dropna=False, sort=False, observed=True)


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
