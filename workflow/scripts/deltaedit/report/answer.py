"""The question and its answer in sentences, from the counts of verdicts."""

from dataclasses import dataclass

import pandas as pd

from deltaedit.figures import _style
from deltaedit.report import cells
from deltaedit.verdicts import IMPROVES, KEEPS, LOSES

VERBS = {IMPROVES: "improve", KEEPS: "keep", LOSES: "lose"}
MIXED = "mixed"


@dataclass(frozen=True)
class Answer:
    """What the edits of one pair did.

    `counts` and `range` are sentences, the second perhaps empty; `methods` says by outcome which
    methods had it, each with the number of its variants.
    """

    pair: str
    counts: str
    methods: dict[str, str]
    range: str


def counts(verdicts: pd.DataFrame) -> dict[str, int]:
    """Return how many edited models improve, keep and lose, over all pairs and methods."""
    return {verdict: int(verdicts[verdict].sum()) for verdict in VERBS}


def outcome(row: pd.Series) -> str:
    """Return the verdict of more than half of a method's variants, or "mixed"."""
    most = max(VERBS, key=lambda verdict: row[verdict])
    return most if 2 * row[most] > row["variants"] else MIXED


def answers(verdicts: pd.DataFrame) -> list[Answer]:
    """Answer for each pair, given one row per pair and method, see `verdicts.by_method`."""
    return [
        Answer(str(pair), _counted(rows), _grouped(rows), _ranged(rows))
        for pair, rows in verdicts.groupby("pair", sort=False)
    ]


def _counted(rows: pd.DataFrame) -> str:
    """Say, of 54 edited models, 35 keep the post-trained model's score, 19 lose, none improves."""
    total, found = int(rows["variants"].sum()), counts(rows)
    said = {
        verdict: f"{found[verdict] or 'none'} {VERBS[verdict] if found[verdict] > 1 else verdict}"
        for verdict in (KEEPS, LOSES, IMPROVES)
    }
    said[KEEPS] += " the post-trained model's score"
    models = "edited model" if total == 1 else "edited models"
    return f"Of {total} {models}, {', '.join(said.values())}."


def _grouped(rows: pd.DataFrame) -> dict[str, str]:
    """Name the methods of each outcome: DARE (19 of 25), DELLA (2 of 2)."""
    found: dict[str, list[str]] = {verdict: [] for verdict in (*VERBS, MIXED)}
    for _, row in rows.iterrows():
        verdict = outcome(row)
        if verdict == MIXED:
            share = ", ".join(f"{row[one]} {verb}" for one, verb in VERBS.items() if row[one])
        else:
            share = f"{row[verdict]} of {row['variants']}"
        found[verdict].append(f"{_style.look(row['method'])['label']} ({share})")
    return {verdict: ", ".join(methods) for verdict, methods in found.items() if methods}


def _ranged(rows: pd.DataFrame) -> str:
    """Say between which bounds the scores and the losses change."""
    best, worst = rows.loc[rows["best_change"].idxmax()], rows.loc[rows["worst_change"].idxmin()]
    unit = cells.words(str(best["unit"]))
    said = f"The score changes by {_end(worst, 'worst')} to {_end(best, 'best')} {unit}"
    losses = rows[rows["measured_lowest"].notna()]
    if len(losses):
        lowest, highest = losses["measured_lowest"].min(), losses["measured_highest"].max()
        said += f", the loss {losses['loss'].iloc[0]} by "
        said += f"{cells.number(lowest, '.2g')} to {cells.number(highest, '.2g')} nats as measured"
    return f"{said}."


def _end(row: pd.Series, which: str) -> str:
    return cells.signed(row[f"{which}_change"], row[f"{which}_stderr"], row["unit"])
