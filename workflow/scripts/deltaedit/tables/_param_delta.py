"""What the tables of ParamDelta have in common: a column per checkpoint, published ones beside."""

from collections.abc import Iterable

import pandas as pd

from deltaedit import layouts, published, results
from deltaedit.figures import _onto
from deltaedit.figures._rows import groups

OURS, PUBLISHED = "ours", "published"
ROW = ["pair", "onto", *_onto.TASK]
NUMBERS = ["checkpoint", "source", "unit", "score", "stderr"]


def plain(sums: pd.DataFrame) -> pd.DataFrame:
    """Return the sums that are one delta as it is on a base."""
    return _onto.with_weights(sums, [1.0])


def of_end(table: pd.DataFrame, rows: pd.DataFrame, end: str, of: str) -> pd.DataFrame:
    """Return the scores of an end of the pair in the column `of`, for each of `rows`."""
    scores = _onto.end(table, end).rename(columns={"pair": of})
    keys = list(dict.fromkeys([*ROW, of]))
    return rows[keys].drop_duplicates().merge(scores, on=[of, *_onto.TASK])


def gather(
    columns: Iterable[tuple[str, pd.DataFrame]], numbers: Iterable[pd.DataFrame]
) -> pd.DataFrame:
    """Put scores of checkpoints into one tidy table, published ones beside.

    Args:
        columns: what a checkpoint is called, and its scores: `ROW`, value and stderr.
        numbers: pair, onto, benchmark, and published scores (%) in columns called as checkpoints.

    Returns:
        `ROW` and `NUMBERS`; unit is % where the task's scores are shares, else the metric.
    """
    rows = pd.concat([found.assign(checkpoint=name) for name, found in columns], ignore_index=True)
    is_share = _onto.in_percent(rows, ["value"])
    scale = is_share.map({True: 100, False: 1})
    ours = rows.assign(
        source=OURS,
        unit=rows["metric"].where(~is_share, "%"),
        score=scale * rows["value"],
        stderr=scale * rows["stderr"].astype(float),
    )[[*ROW, *NUMBERS]]
    tasks = ours[ROW].drop_duplicates()
    tasks = tasks.assign(benchmark=tasks["task"].map(published.BENCHMARKS))
    theirs = [
        tasks.merge(table, on=["pair", "onto", "benchmark"])
        .drop(columns="benchmark")
        .melt(ROW, var_name="checkpoint", value_name="score")
        .dropna(subset=["score"])
        .assign(source=PUBLISHED, unit="%")
        for table in numbers
    ]
    return pd.concat([ours, *(some for some in theirs if len(some))], ignore_index=True)


def lay_out(selected: pd.DataFrame) -> pd.DataFrame:
    """Put each task in a row, with a column for each checkpoint and its published score beside."""
    columns = [
        (name, source)
        for name in dict.fromkeys(selected["checkpoint"])
        for source in (OURS, PUBLISHED)
        if ((selected["checkpoint"] == name) & (selected["source"] == source)).any()
    ]
    rows = []
    for key, found in groups(selected, ROW):
        pair, onto, _, *task = key
        cells = {
            (row["checkpoint"], row["source"]): layouts.cell(
                row["score"], row["stderr"], 1 if row["unit"] == "%" else 3
            )
            for row in found.to_dict("records")
        }
        percent = found["unit"].iloc[0] == "%"
        row = {"delta of": pair, "onto": onto, "task": results.of_task(*task, percent=percent)}
        for name, source in columns:
            column = name if source == OURS else f"{name} (published)"
            row[column] = cells.get((name, source), "")
        rows.append(row)
    return pd.DataFrame(rows)
