"""The papers' claims about the loss change of edits, each held against our own numbers.

A claim is a function of the results of one pair and loss that yields findings, none where the
sweeps it speaks of were not run. Where our data disagree, the verdict says so. Claims are of Tang
et al. 2024, *A Unified View of Delta Parameter Editing*, but for the editing intensity, which is of
its successor (ACL 2026 Findings 1833).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import pandas as pd

from deltaedit import results

AGREES, DISAGREES, PARTLY, UNDECIDED = "agrees", "disagrees", "partly", "undecided"
REPORTED = "reported"  # a number beside others, with no verdict of its own
FLOOR = 1e-3  # nats; a smaller change is compared as if it were this large
ERRORS = 2  # standard errors by which a change that is said to have a sign differs from zero


@dataclass(frozen=True)
class Finding:
    """One number of ours beside what a paper says of it."""

    claim: str
    quantity: str  # what the numbers are, and when they agree with the claim
    approximated: float | None = None  # by the loss's first quadrature
    measured: float | None = None
    verdict: str = REPORTED


@dataclass(frozen=True)
class Evidence:
    """What is known of the variants of one pair and loss.

    `changes` has one row per variant, by the first quadrature of the loss; `gaps` one per variant
    and quadrature; `scores`, one row per variant and one column per task, is indexed by sweep and
    variant and perhaps empty.
    """

    changes: pd.DataFrame
    gaps: pd.DataFrame
    scores: pd.DataFrame

    def of(self, method: str, **options: object) -> pd.DataFrame:
        """Return the changes of a method's variants with these options."""
        rows = self.changes[self.changes["method"] == method]
        for name, value in options.items():
            rows = rows[results.has(rows, name, value)]
        return rows

    def end(self, name: str) -> pd.Series:
        """Return the scores of base or post by task."""
        return self.scores.loc[("ends", name)]

    def scored(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the scores of the variants in `rows`, in their order; empty if not evaluated."""
        keys = list(zip(rows["sweep"], rows["variant"], strict=True))
        known = [key for key in keys if key in self.scores.index]
        return self.scores.loc[known].dropna(axis="columns")


def weigh(changes: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return the findings of every claim on every pair and loss.

    Args:
        changes: one row per variant, loss and quadrature, see `results.loss_changes`.
        scores: one row per variant and task, see `results.read_scores`; may be empty.

    Returns:
        One row per finding: claim, pair, loss, quantity, approximated, measured (in the unit that
        the quantity states, NA where there is no such number) and verdict.
    """
    rows = []
    for claim in CLAIMS:
        for (pair, loss), gaps in changes.groupby(["pair", "loss"], sort=False):
            first = gaps[gaps["quadrature"] == gaps["quadrature"].iloc[0]]
            of_pair = scores[scores["pair"] == pair] if len(scores) else scores
            for finding in claim(Evidence(first, gaps, _by_task(of_pair))):
                rows.append({"pair": pair, "loss": loss, **asdict(finding)})
    columns = ["claim", "pair", "loss", "quantity", "approximated", "measured", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _by_task(scores: pd.DataFrame) -> pd.DataFrame:
    if scores.empty:
        index = pd.MultiIndex.from_arrays([[], []], names=["sweep", "variant"])
        return pd.DataFrame(index=index)
    task = scores["suite"] + "/" + scores["task"]
    wide = scores.assign(column=task).pivot_table(
        index=["sweep", "variant"], columns="column", values="value", aggfunc="first", sort=False
    )
    return wide.rename_axis(columns=None)


# --- dare -----------------------------------------------------------------------------------


def near_zero(evidence: Evidence) -> Iterator[Finding]:
    """Section 4.1: DARE's terms stay near zero, those of dropping without rescaling do not."""
    if "drop_rate" not in evidence.changes:
        return
    columns = ["approximate_change", "measured_change"]
    found = [
        evidence.of("dare", dropped_scale=0, rescale=rescale)
        .groupby("drop_rate")[columns]
        .mean()
        .abs()
        for rescale in (True, False)
    ]
    ratios = (found[0] / found[1]).dropna()
    if ratios.empty:
        return
    yield Finding(
        "DARE's loss change stays near zero where dropping alone does not",
        "loss change of DARE over that of drop only at the same p, median of all p (measured: at "
        f"most {ratios['measured_change'].max():.2g}); at most 0.1",
        *ratios.median(),
        _verdict(ratios.median() <= 0.1),
    )


def intensity(evidence: Evidence) -> Iterator[Finding]:
    """ACL 2026 Findings 1833: the intensity times the curvature predicts what an edit does."""
    if "expected_second_order" not in evidence.changes:
        return
    rows = evidence.changes.dropna(subset=["expected_second_order"])
    rows = rows[rows["expected_second_order"] != 0]
    for what, column in (("second order found along the path", "second_order"),
                         ("measured change", "measured_change")):  # fmt: skip
        if len(rows):
            gaps = _relative(rows["expected_second_order"], rows[column])
            yield Finding(
                "the editing intensity predicts DARE's loss change",
                f"distance of half intensity times curvature from the {what}, relative to it, "
                "median of all variants; at most 0.25",
                None,
                gaps.median(),
                _verdict([gaps.median() <= 0.25]),
            )


# --- edits that lose, edits that gain -------------------------------------------------------


def losing_edits(evidence: Evidence) -> Iterator[Finding]:
    """Section 5: quantised, pruned and low-rank deltas lose performance: the term is positive."""
    plain = {"scale_multiple": 1, "magnitude": "mean", "blocks": 1}
    ties = evidence.of("ties")
    ties = ties[ties["drop_rate"] >= 0.7] if len(ties) else ties  # else there may be no such column
    for name, rows in (
        ("BitDelta", evidence.of("bitdelta", **plain)),
        ("TIES at drop rates from 0.7 on", ties),
        ("low rank", evidence.of("low_rank")),
    ):
        if len(rows):
            yield Finding(
                f"{name} raises the loss",
                f"smallest loss change, nats (variants: {len(rows)}); positive by more than "
                f"{ERRORS} standard errors",
                rows["approximate_change"].min(),
                rows["measured_change"].min(),
                _all_signs(rows, 1),
            )


def extrapolation(evidence: Evidence) -> Iterator[Finding]:
    """Section 6: along ExPO's alpha the loss dips below zero, and turns."""
    line = evidence.of("expo").sort_values("alpha") if "alpha" in evidence.changes else []
    beyond = line[line["alpha"] > 0] if len(line) else line
    if not len(beyond):
        return
    columns = ["approximate_change", "measured_change"]
    claim = "extrapolating the delta (ExPO) lowers the loss at first"
    yield Finding(
        claim,
        f"loss change at alpha = {beyond['alpha'].iloc[0]:g}, nats; negative by more than {ERRORS} "
        "standard errors",
        *beyond[columns].iloc[0],
        _all_signs(beyond.iloc[:1], -1),
    )
    least = [beyond.loc[beyond[column].idxmin()] for column in columns]
    yield Finding(
        claim,
        "lowest loss change over alpha > 0, nats",
        *(row[column] for row, column in zip(least, columns, strict=True)),
    )
    yield Finding(claim, "alpha of the lowest loss", *(row["alpha"] for row in least))
    back = [
        beyond.loc[(beyond["alpha"] > row["alpha"]) & (beyond[column] > 0), "alpha"].min()
        for row, column in zip(least, columns, strict=True)
    ]
    last = beyond["alpha"].max()
    yield Finding(
        claim, f"alpha from which the loss is above post's again (none: not up to {last:g})", *back
    )
    scores = evidence.scored(line)
    alphas = line.set_index(["sweep", "variant"])["alpha"]
    for task in scores:
        best = scores[task].idxmax()
        alpha = 0.0 if evidence.end("post")[task] >= scores[task].max() else alphas[best]
        yield Finding(claim, f"alpha of the best score on {task} (0: post)", None, alpha)


def breaking_edits(evidence: Evidence) -> Iterator[Finding]:
    """Section 4.2, Table 1: choosing k's side by delta times gradient breaks the model."""
    for by, name, breaks in (("product", "delta times gradient", True), ("delta", "delta", False)):
        rows = evidence.of("biased", by=by)
        scores = evidence.scored(rows)
        if scores.empty:
            continue
        gained = evidence.end("post") - evidence.end("base")
        lasting = (scores - evidence.end("base"))[gained.index[gained > 0]] / gained[gained > 0]
        verb = "breaks" if breaks else "keeps"
        for (key, kept), (_, row) in zip(lasting.iterrows(), rows.iterrows(), strict=True):
            yield Finding(
                f"dropping by the sign of {name} {verb} the model",
                f"{key[1]}: loss change, nats; of what post-training gained on {kept.idxmin()}, "
                f"the worst task, {kept.min():.2f} is left; {verb}: "
                + ("below 0.5" if breaks else "at least 0.5"),
                row["approximate_change"],
                row["measured_change"],
                _verdict([(kept.min() < 0.5) == breaks]),
            )


# --- the argument itself --------------------------------------------------------------------


def first_order(evidence: Evidence) -> Iterator[Finding]:
    """Section 4.1: the first-order terms of an edit cancel or not; the rest is not looked at."""
    known = _clear(evidence.changes).dropna(subset=["first_order"])
    for method, rows in known.groupby("method", sort=False):
        share = (rows["first_order"] / rows["measured_change"]).median()
        yield Finding(
            "the loss change of an edit is its first-order term",
            f"{method}: first-order term over measured change, median where it exceeds its error "
            f"(variants: {len(rows)}); from 0.5 to 1.5",
            None,
            share,
            _verdict([0.5 <= share <= 1.5]),
        )


def predicts(evidence: Evidence) -> Iterator[Finding]:
    """Section 3.2: a negative term is an edit that improves, a positive one that loses."""
    rows = evidence.changes[evidence.changes["method"].notna()]
    rows = _clear(rows, "approximate_change", "approximate_stderr")
    scores = evidence.scored(rows)
    if scores.empty:
        return
    better = scores.mean(axis=1) - evidence.end("post")[scores.columns].mean()
    change = rows.set_index(["sweep", "variant"])["approximate_change"].loc[scores.index]
    for sign, name, verb, right in (
        (-1, "negative", "improves", better > 0),
        (1, "positive", "worsens", better < 0),
    ):
        chosen = change * sign > 0
        if chosen.any():
            share = right[chosen].mean()
            yield Finding(
                f"a {name} loss change means an edit that {verb} the model",
                f"share of variants with a {name} approximated change whose mean score says so "
                f"(variants: {chosen.sum()}); at least 0.9",
                None,
                share,
                _verdict([share >= 0.9]),
            )
    if len(change) > 2:
        yield Finding(
            "the size of the loss change tells how much an edit loses",
            "Spearman's rank correlation of approximated change and mean score (variants: "
            f"{len(change)}); at most -0.5",
            None,
            rank := change.corr(better, method="spearman"),
            _verdict([rank <= -0.5]),
        )


def approximation(evidence: Evidence) -> Iterator[Finding]:
    """Equation 1: the Riemann sum approximates the loss change."""
    edited = evidence.gaps[evidence.gaps["method"].notna()]
    for rule, rows in edited.groupby("quadrature", sort=False):
        gaps = _relative(rows["approximate_change"], rows["measured_change"])
        yield Finding(
            "the sum approximates the loss change",
            f"{rule}: distance from the measured change, relative to it, median of all variants "
            f"(90th percentile {gaps.quantile(0.9):.2g}); at most 0.05",
            None,
            gaps.median(),
            _verdict([gaps.median() <= 0.05]),
        )
        clear = _clear(rows)
        if len(clear):
            right = (clear["approximate_change"] * clear["measured_change"] > 0).mean()
            yield Finding(
                "the sum has the sign of the loss change",
                f"{rule}: share of the variants whose measured change exceeds its error (variants: "
                f"{len(clear)}); all",
                None,
                right,
                _verdict([right == 1]),
            )


CLAIMS: list[Callable[[Evidence], Iterator[Finding]]] = [
    near_zero,
    losing_edits,
    extrapolation,
    breaking_edits,
    first_order,
    predicts,
    approximation,
    intensity,
]


def _verdict(holds: object) -> str:
    """Say whether all, some or none of the conditions hold."""
    holds = [bool(each) for each in holds]
    return AGREES if all(holds) else PARTLY if any(holds) else DISAGREES


def _all_signs(rows: pd.DataFrame, sign: int) -> str:
    """Say whether all changes, approximated and measured, have a sign beyond their errors."""
    holds, clear = [], []
    for kind in ("approximate", "measured"):
        change = sign * rows[f"{kind}_change"]
        holds += list(change > 0)
        clear += list(change.abs() > ERRORS * rows[f"{kind}_stderr"].fillna(0))
    return _verdict(holds) if all(clear) else UNDECIDED


def _clear(
    rows: pd.DataFrame, change: str = "measured_change", stderr: str = "measured_stderr"
) -> pd.DataFrame:
    """Return the edited variants whose change exceeds its standard error."""
    rows = rows[rows["method"].notna() & rows[change].map(math.isfinite)]
    return rows[rows[change].abs() > rows[stderr].fillna(0)]


def _relative(found: pd.Series, wanted: pd.Series) -> pd.Series:
    """Return the distance of two changes relative to the second, or to FLOOR if that is larger."""
    return (found - wanted).abs() / wanted.abs().clip(lower=FLOOR)
