"""A task-specific delta on a newer base, alone and together with a general-purpose one.

Table 2 (scenarios 2 and 4) of Cao et al. 2025, ParamDelta.
"""

import json
from dataclasses import dataclass

import pandas as pd

from deltaedit import published
from deltaedit.errors import UserError
from deltaedit.figures import _onto
from deltaedit.figures._rows import groups
from deltaedit.tables import _param_delta

MEASURES = ("suite", "onto")
TITLE = "A specific delta on a newer base"
CAPTION = (
    "Scores with one standard error of a general-purpose post-trained model (post), of one "
    "post-trained for specific tasks (specific), of a newer base with the specific delta, and with "
    "weighted specific and general deltas together. See what the specific delta keeps of its own "
    "tasks on the newer base, and what a share of the general delta gains on other tasks and costs "
    "on these. Published numbers (Cao et al. 2025, Table 2) stand beside ours where the pairs are "
    "theirs and the tasks are of the same name; prompts and metrics may differ."
)
PUBLISHED_SPECIFIC = "ContactDoctor/Bio-Medical-Llama-3-8B"
COPIED = ("GSM8K", "MGSM")  # rows with the same three numbers: one must be a slip, which is unknown
GENERAL, SPECIFIC = "D general", "D specific"
PUBLISHED = {
    "llama3_post": "post",
    "med_llama3": "specific",
    "med_param_delta": f"base' + {SPECIFIC}",
    "med_param_delta_star": f"base' + 0.5 {GENERAL} + 0.5 {SPECIFIC}",
}

lay_out = _param_delta.lay_out


@dataclass(frozen=True, kw_only=True)
class Params:
    """No options."""


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the scores of post, specific, base' + D specific, and of the weighted sums.

    The table's first pair is the general-purpose one, so that its spec reads
    `pair: [GENERAL, SPECIFIC]`. In a sum of two deltas that of this pair, or of the pair whose base
    takes them, is the general one.

    Args:
        table: scores, one row per variant and task, also of the ends of the pairs of base'.
        params: none.

    Returns:
        One row per pair (the specific one), onto (whose base is base'), task, checkpoint and source
        (ours or published): unit (%, or the metric where it is no share), score in that unit and
        stderr.

    Raises:
        UserError: no specific delta on another base, or variants that edit other tensors.
    """
    general = table["pair"].iloc[0]
    sums = _onto.sums(table)
    named = [_named(row, general) for row in sums.to_dict("records")]
    sums = sums.assign(pair=[name for name, _ in named], checkpoint=[what for _, what in named])
    sums = sums.dropna(subset=["checkpoint"]).drop_duplicates([*_param_delta.ROW, "checkpoint"])
    if sums.empty:
        raise UserError(
            "nothing to draw: no specific delta is put onto another base; name the general pair"
            " first, as pair: [GENERAL, SPECIFIC]"
        )
    by_sum = {what: sums[sums["checkpoint"] == what] for what in sorted(set(sums["checkpoint"]))}
    alone = {what: by_sum.pop(what) for what in [PUBLISHED["med_param_delta"]] if what in by_sum}
    columns = [
        ("post", _param_delta.of_end(table, sums.assign(general=general), "post", "general")),
        ("specific", _param_delta.of_end(table, sums, "post", "pair")),
        *alone.items(),
        *by_sum.items(),
    ]
    numbers = [
        _published().assign(pair=pair, onto=onto)
        for (pair, onto), _ in groups(sums, ["pair", "onto"])
        if _is_published(table, general, pair, onto)
    ]
    return _param_delta.gather(columns, numbers)


def _named(row: dict[str, str], general: str) -> tuple[str | None, str | None]:
    """Return the specific pair of a sum and what it is called; None where it has none, or more."""
    pairs, weights = [row["pair"], *json.loads(row["deltas"])], _onto.weights_of(row["weights"])
    is_general = [pair in (general, row["onto"]) for pair in pairs]
    specific = [pair for pair, known in zip(pairs, is_general, strict=True) if not known]
    is_alone = len(pairs) == 1 and weights == [1.0]
    if len(specific) != 1 or not (is_alone or len(pairs) == 2):
        return None, None
    # The general one first, as in the paper.
    terms = sorted(zip(is_general, weights, strict=True), reverse=True)
    names = [GENERAL if known else SPECIFIC for known, _ in terms]
    return specific[0], f"base' {_onto.words((weight for _, weight in terms), names)}"


def _is_published(table: pd.DataFrame, general: str, pair: str, onto: str) -> bool:
    ends = published.llama("3", "8B")[0], PUBLISHED_SPECIFIC
    is_specific = published.is_of(table[table["pair"] == pair], ends).any()
    sizes = _onto.size_of(table, general, "3"), _onto.size_of(table, onto, "3.1")
    return bool(is_specific) and sizes == ("8B", "8B")


def _published() -> pd.DataFrame:
    numbers = published.read("param_delta_table2").rename(columns=PUBLISHED).drop(columns="group")
    doubtful = [name for name in PUBLISHED.values() if name != "post"]
    numbers.loc[numbers["benchmark"].isin(COPIED), doubtful] = float("nan")
    return numbers
