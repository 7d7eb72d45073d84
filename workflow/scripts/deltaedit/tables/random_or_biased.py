"""Accuracy where the entries to scale by k are drawn at random, or chosen by a sign.

Table 1 of Tang et al. 2024, A Unified View of Delta Parameter Editing.
"""

from dataclasses import dataclass

import pandas as pd

from deltaedit import layouts, published, results
from deltaedit.figures._rows import groups, of, one_selection, one_value, over_seeds

MEASURES = ("suite",)
TITLE = "Random or biased: which entries are scaled by k"
CAPTION = (
    "Accuracy (%) with one standard error where a share p of the delta's entries is multiplied by "
    "k and the others are rescaled: drawn at random (DARE with k), all with a negative delta, or "
    "all with a negative product of delta and gradient. The paper finds that only the last one "
    "breaks the model. Published numbers (Tang et al. 2024, Table 1, which does not state p) stand "
    "beside ours where the pair and the task are theirs."
)
POINT = ["pair", "task", "metric", "filter", "drop_rate", "dropped_scale", "choice"]
CHOICES = {"random": "random", "delta": "biased by delta", "product": "biased by delta x gradient"}
OURS, PUBLISHED = "ours", "published"
COLUMNS = {"random": "random", "biased_delta": "delta", "biased_product": "product"}


@dataclass(frozen=True, kw_only=True)
class Params:
    """No options."""


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the accuracy of each choice at each p and k that biased variants have.

    Args:
        table: scores, one row per variant and task.
        params: none.

    Returns:
        One row per pair, task, p, k and choice (random, delta, product): accuracy in [0, 1],
        stderr, seeds and source, ours or published.

    Raises:
        UserError: no biased variant, biased variants of both values of zero, or variants that edit
            other tensors.
    """
    biased = of(table, "biased")
    one_value(biased, "zero")
    rows = table[table["method"].isin(["dare"])]
    if len(rows):  # else there may be no columns for its options
        rows = rows[results.has(rows, "rescale", True)]
        at = ["pair", "drop_rate", "dropped_scale"]
        rows = rows.merge(biased[at].drop_duplicates(), on=at)
    rows = pd.concat([rows.assign(choice="random"), biased.assign(choice=biased["by"])])
    one_selection(rows)
    ours = over_seeds(rows, POINT).rename(columns={"value": "accuracy"}).assign(source=OURS)
    theirs = _published(table[table["task"] == "gsm8k"])
    return pd.concat([ours, theirs], ignore_index=True) if len(theirs) else ours


def _published(table: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of the paper, where the scores are of its pair and task."""
    known = table[published.is_of(table, published.LLAMA3_8B)]
    numbers = published.read("unified_table1").rename(columns={"k": "dropped_scale"} | COLUMNS)
    numbers = numbers.melt("dropped_scale", var_name="choice", value_name="accuracy")
    numbers = numbers.assign(accuracy=numbers["accuracy"] / 100, source=PUBLISHED)
    return known[["pair", "task", "metric", "filter"]].drop_duplicates().merge(numbers, how="cross")


def lay_out(selected: pd.DataFrame) -> pd.DataFrame:
    """Put each pair, task, p and k in a row, with a column for each choice and source."""
    cells = selected.assign(
        cell=[
            layouts.cell(100 * value, 100 * stderr, 1)
            for value, stderr in zip(selected["accuracy"], selected["stderr"], strict=True)
        ],
        column=selected["choice"].map(CHOICES)
        + selected["source"].map({OURS: "", PUBLISHED: " (published)"}),
    )
    columns = list(dict.fromkeys(cells.sort_values("source", kind="stable")["column"]))
    rows = []
    for (pair, *task), of_task in groups(cells, ["pair", "task", "metric", "filter"]):
        of_task = of_task.sort_values(["drop_rate", "dropped_scale"], kind="stable")
        for (p, k), found in groups(of_task, ["drop_rate", "dropped_scale"]):
            of_row = dict(zip(found["column"], found["cell"], strict=True))
            key = {
                "pair": pair,
                "task": results.of_task(*task),
                "p": "" if pd.isna(p) else f"{p:g}",
                "k": f"{k:g}",
            }
            rows.append({**key, **{name: of_row.get(name, "") for name in columns}})
    return pd.DataFrame(rows)
