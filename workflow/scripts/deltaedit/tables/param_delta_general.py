"""A general-purpose delta on a newer base, beside all that it is compared with.

Table 1 (scenario 1) of Cao et al. 2025, ParamDelta.
"""

from dataclasses import dataclass

import pandas as pd

from deltaedit import published
from deltaedit.errors import UserError
from deltaedit.figures import _onto
from deltaedit.figures._rows import groups
from deltaedit.tables import _param_delta

MEASURES = ("suite", "onto")
TITLE = "A delta on a newer base"
CAPTION = (
    "Scores with one standard error of a base and its post-trained model, of a newer base "
    "(base'), of base' + D, where D = post - base, and of post', the model post-trained on base' "
    "itself. Compare base' + D with post (the base is newer) and with post' (nothing was trained). "
    "Published numbers (Cao et al. 2025, Table 1) stand beside ours where the pairs are theirs and "
    "the tasks are of the same name; prompts and metrics may differ."
)
SUM = "base' + D"
PUBLISHED = {
    "llama3_base": "base",
    "llama3_post": "post",
    "llama31_base": "base'",
    "llama31_base_plus_delta_llama3": SUM,
    "llama31_post": "post'",
}

lay_out = _param_delta.lay_out


@dataclass(frozen=True, kw_only=True)
class Params:
    """No options."""


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the scores of base, post, base', base' + D and post' for each delta and base.

    Args:
        table: scores, one row per variant and task, also of the ends of the pairs of base'.
        params: none.

    Returns:
        One row per pair, onto (whose base is base'), task, checkpoint and source (ours or
        published): unit (%, or the metric where it is no share), score in that unit and stderr.

    Raises:
        UserError: no such variant, or variants that edit other tensors.
    """
    sums = _param_delta.plain(_onto.sums(table))
    if sums.empty:
        raise UserError("nothing to draw: no variant that adds one delta, times 1, to another base")
    columns = [
        *((end, _param_delta.of_end(table, sums, end, "pair")) for end in ("base", "post")),
        ("base'", _param_delta.of_end(table, sums, "base", "onto")),
        (SUM, sums),
        ("post'", _param_delta.of_end(table, sums, "post", "onto")),
    ]
    numbers = []
    for (pair, onto), _ in groups(sums, ["pair", "onto"]):
        size = _onto.size_of(table, pair, "3")
        if size and size == _onto.size_of(table, onto, "3.1"):
            theirs = published.read("param_delta_table1").rename(columns=PUBLISHED)
            theirs = theirs[theirs["size"] == size].drop(columns="size")
            numbers.append(theirs.assign(pair=pair, onto=onto))
    return _param_delta.gather(columns, numbers)
