"""Deltas on another base: what figures and tables ask of the scores of `combine` with `onto`.

A variant of a pair whose delta D is put onto the base of another pair is called base' + w D here,
with base' (and its own post', if there is one) the ends of that pair.
"""

import json
from collections.abc import Iterable

import pandas as pd

from deltaedit import published
from deltaedit.errors import UserError
from deltaedit.figures._rows import one_selection, over_seeds
from deltaedit.sweeps import ENDS

TASK = ["suite", "task", "metric", "filter"]
MET = ["pair", "onto", "deltas", "weights"]  # what tells a sum of deltas on a base apart


def sums(table: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of base' + sum_i w_i D_i, a row per sum and task, means over seeds.

    Combinations that edit, elect or average are no such sums and are left out; a scale of the
    whole is part of each weight.

    Args:
        table: scores, one row per variant and task.

    Returns:
        `MET`, `TASK`, value and stderr; weights and deltas (the further pairs) are lists as text.

    Raises:
        UserError: there is none, or variants edit different tensors.
    """
    rows = table[table["method"].isin(["combine"])]
    rows = rows[rows["onto"].notna()] if "onto" in rows else rows[:0]
    for name, value in {"edit": "{}", "elect": False, "mean": False}.items():
        rows = rows[rows[name].isin([value])] if name in rows else rows[:0]
    if rows.empty:
        raise UserError("nothing to draw: no variant of combine that is put onto another base")
    one_selection(rows)
    scaled = [
        json.dumps([scale * weight for weight in weights_of(text)])
        for scale, text in zip(rows["scale"], rows["weights"], strict=True)
    ]
    rows = rows.assign(weights=scaled)
    return over_seeds(rows, [*MET, *TASK]).drop(columns="seeds")


def end(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the scores of one end, base or post, of all pairs: pair, `TASK`, value, stderr."""
    rows = table[(table["sweep"] == ENDS) & (table["variant"] == name)]
    return over_seeds(rows, ["pair", *TASK]).drop(columns="seeds")


def weights_of(text: str) -> list[float]:
    """Return a list that `results.describe` made a text."""
    return [float(weight) for weight in json.loads(text)]


def with_weights(sums: pd.DataFrame, weights: Iterable[float]) -> pd.DataFrame:
    """Return the sums whose deltas have these weights, and are as many."""
    wanted = list(weights)
    return sums[sums["weights"].map(lambda text: weights_of(text) == wanted).astype(bool)]


def words(weights: Iterable[float], names: Iterable[str]) -> str:
    """Return a sum of deltas in words, such as "D + 0.5 D_med"."""
    terms = []
    for weight, name in zip(weights, names, strict=True):
        size = "" if abs(weight) == 1 else f"{abs(weight):g} "
        terms.append(f"{'-' if weight < 0 else '+'} {size}{name}")
    return " ".join(terms)


def in_percent(rows: pd.DataFrame, values: list[str]) -> pd.Series:
    """Say of each row whether all `values` of its task lie in [0, 1], so that it is a share."""
    inside = rows[values].apply(lambda column: column.between(0, 1) | column.isna()).all(axis=1)
    return inside.groupby([rows[name] for name in TASK]).transform("all")


def size_of(table: pd.DataFrame, pair: str, version: str) -> str | None:
    """Return the size of a pair that is Llama 3 or 3.1 as published, else None."""
    rows = table[table["pair"] == pair]
    found = (s for s in published.SIZES if published.is_of(rows, published.llama(version, s)).any())
    return next(found, None)
