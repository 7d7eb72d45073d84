"""What each edit did to its post-trained model: improved it, kept it or lost.

The three classes are those of Tang et al. 2024, *A Unified View of Delta Parameter Editing*
(improved, competitive and decreased performance).
"""

import math

import numpy as np
import pandas as pd

from deltaedit import results
from deltaedit.sweeps import ENDS

IMPROVES, KEEPS, LOSES = "improves", "keeps", "loses"
ERRORS = 2  # standard errors by which a score must differ from post's to count as changed
POINTS = "points"  # the unit of accuracies, in percent
VARIANT = ["pair", "sweep", "variant"]
METHOD_COLUMNS = ["pair", "method", "variants", IMPROVES, KEEPS, LOSES]
METHOD_COLUMNS += ["best", "best_change", "best_stderr", "worst", "worst_change", "worst_stderr"]
METHOD_COLUMNS += ["unit", "score_of", "loss", "measured_lowest", "measured_highest"]
CHANGES = ["approximate_change", "approximate_stderr", "measured_change", "measured_stderr"]


def of_variants(scores: pd.DataFrame, changes: pd.DataFrame) -> pd.DataFrame:
    """Return what is known of every variant in one row, or one for each loss of its pair.

    The score of a variant is the mean over the tasks that it was measured on; where some tasks of
    its pair are accuracies (all values in [0, 1]), over those alone, in percent. It changes against
    post's mean over the same tasks. Its standard error comes from the tasks', and that of the
    change from the variant's and post's as if they were independent: on the same documents they are
    not, so that it is rather too large.

    Args:
        scores: one row per variant and task, see `results.read_scores`; may be empty.
        changes: one row per variant, loss and quadrature, see `results.loss_changes`; may be
            empty. The first quadrature of a loss counts.

    Returns:
        pair, sweep, variant, method (see `results.series`), seed, tensors, options (as text),
        score, score_stderr, score_change (against post), score_change_stderr, unit, score_of (the
        tasks whose mean it is, with their metrics), loss, the
        approximated and the measured loss change with their standard errors (nats), and the
        verdict: improves or loses where the change of the score exceeds `ERRORS` standard errors,
        else keeps; none without a score, and for base and post. NA where a number is not known.
    """
    tables = [table for table in (scores, changes) if len(table)]
    known = pd.concat(tables, ignore_index=True).drop_duplicates(VARIANT)
    rows = known[[*VARIANT, "method", "seed", "tensors"]].assign(
        method=results.series(known), options=results.options(known)
    )
    rows = rows.merge(_changes_of_score(scores), on=VARIANT, how="left")
    rows = rows.merge(_first_changes(changes), on=VARIANT, how="left")
    clear = rows["score_change"].abs() > ERRORS * rows["score_change_stderr"].fillna(0)
    verdict = pd.Series(KEEPS, index=rows.index, dtype=object)
    verdict[clear & (rows["score_change"] > 0)] = IMPROVES
    verdict[clear & (rows["score_change"] < 0)] = LOSES
    is_judged = rows["score_change"].notna() & (rows["sweep"] != ENDS)
    return rows.assign(verdict=verdict.where(is_judged))


def _changes_of_score(scores: pd.DataFrame) -> pd.DataFrame:
    """Return score, its change against post, the change's standard error and unit by variant."""
    columns = ["score", "score_stderr", "score_change", "score_change_stderr", "unit", "score_of"]
    found = []
    for _, rows in scores.groupby("pair", sort=False) if len(scores) else []:
        rows = rows.assign(place=rows["suite"] + "/" + rows["task"])
        is_accuracy = rows["value"].between(0, 1).groupby(rows["place"]).transform("all")
        rows, scale = (rows[is_accuracy], 100) if is_accuracy.any() else (rows, 1)
        unit = POINTS if is_accuracy.any() else " and ".join(rows["metric"].unique())
        post = rows[(rows["sweep"] == ENDS) & (rows["variant"] == "post")].set_index("place")
        rows = rows.join(post[["value", "stderr"]].add_suffix("_post"), on="place")
        by_variant = rows.groupby(VARIANT, sort=False)
        table = scale * pd.DataFrame(
            {
                "score": by_variant["value"].mean(),
                "score_stderr": by_variant["stderr"].agg(_stderr_of_mean),
            }
        )
        # Of the tasks that the variant was measured on, which may be some of post's.
        table["score_change"] = table["score"] - scale * by_variant["value_post"].mean()
        posts = scale * by_variant["stderr_post"].agg(_stderr_of_mean)
        table["score_change_stderr"] = np.hypot(table["score_stderr"], posts)
        found.append(table.assign(unit=unit, score_of=_score_of(rows)).reset_index())
    if not found:
        return pd.DataFrame(columns=[*VARIANT, *columns])
    return pd.concat(found, ignore_index=True)[[*VARIANT, *columns]]


def _score_of(rows: pd.DataFrame) -> str:
    """Say what the scores of a pair are the mean of; each variant's of the tasks it has."""
    tasks = rows[["task", "metric", "filter"]].drop_duplicates().itertuples(index=False)
    named = [results.of_task(*task) for task in tasks]
    counts = rows.groupby(VARIANT)["place"].nunique()
    mean = "mean of " if (counts == counts.max()).all() else "mean of what is measured of "
    return mean * (len(named) > 1) + ", ".join(named)


def what_scores_are(table: pd.DataFrame) -> list[str]:
    """Return a sentence on what the score of each pair is, one for pairs with the same tasks."""
    found = table[["pair", "score_of"]].dropna().drop_duplicates().groupby("score_of", sort=False)
    pairs = {tasks: ", ".join(rows["pair"]) for tasks, rows in found}
    of = {tasks: f" of {names}" * (len(pairs) > 1) for tasks, names in pairs.items()}
    return [f"Score{of[tasks]}: {tasks}." for tasks in pairs]


def _stderr_of_mean(errors: pd.Series) -> float:
    errors = errors.astype(float)
    return math.sqrt((errors**2).sum(skipna=False)) / len(errors)


def _first_changes(changes: pd.DataFrame) -> pd.DataFrame:
    """Return the loss changes by the first quadrature of each loss."""
    if changes.empty:
        return pd.DataFrame(columns=[*VARIANT, "loss", *CHANGES])
    return changes.drop_duplicates([*VARIANT, "loss"])[[*VARIANT, "loss", *CHANGES]]


def by_method(variants: pd.DataFrame) -> pd.DataFrame:
    """Count the verdicts of each method on each pair, with its best and worst variant.

    Args:
        variants: see `of_variants`. One that stands in two sweeps counts once.

    Returns:
        pair, method, variants (with a verdict), improves, keeps, loses (how many), best, worst
        (variants' names), best_change, best_stderr, worst_change, worst_stderr (of the score, in
        unit), score_of, loss (the first of the pair), measured_lowest and measured_highest (its
        change, nats; NA without a loss).
    """
    judged = variants[variants["verdict"].notna()]
    rows = []
    for (pair, method), found in judged.groupby(["pair", "method"], sort=False):
        once = found.drop_duplicates(["seed", "tensors", "options"])
        change = once["score_change"]
        best, worst = once.loc[change.idxmax()], once.loc[change.idxmin()]
        known = found[found["loss"].notna()]
        loss = known["loss"].iloc[0] if len(known) else None
        measured = known.loc[known["loss"] == loss, "measured_change"]
        rows.append(
            {
                "pair": pair,
                "method": method,
                "variants": len(once),
                **{name: (once["verdict"] == name).sum() for name in (IMPROVES, KEEPS, LOSES)},
                "best": best["variant"],
                "best_change": best["score_change"],
                "best_stderr": best["score_change_stderr"],
                "worst": worst["variant"],
                "worst_change": worst["score_change"],
                "worst_stderr": worst["score_change_stderr"],
                "unit": best["unit"],
                "score_of": best["score_of"],
                "loss": loss,
                "measured_lowest": measured.min(),
                "measured_highest": measured.max(),
            }
        )
    return pd.DataFrame(rows, columns=METHOD_COLUMNS)
