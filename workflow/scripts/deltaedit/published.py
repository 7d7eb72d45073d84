"""The papers' published numbers, and the pairs that they are of."""

from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parents[2] / "published"
LLAMA3_8B = ("meta-llama/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-8B-Instruct")


def read(name: str) -> pd.DataFrame:
    """Return a table of the papers; the first line of its file says which."""
    return pd.read_csv(FOLDER / f"{name}.csv", comment="#")


def is_of(table: pd.DataFrame, ends: tuple[str, str]) -> pd.Series:
    """Return which rows are of the pair with these repositories of base and post."""
    if "base_repo" not in table:
        return pd.Series(data=False, index=table.index)
    return (table["base_repo"] == ends[0]) & (table["post_repo"] == ends[1])
