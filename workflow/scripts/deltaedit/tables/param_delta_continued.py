"""A delta on a base whose pretraining was continued.

Table 3 (scenario 3) of Cao et al. 2025, ParamDelta.
"""

from dataclasses import dataclass

import pandas as pd

from deltaedit import published
from deltaedit.errors import UserError
from deltaedit.figures import _onto
from deltaedit.figures._rows import groups
from deltaedit.tables import _param_delta

MEASURES = ("suite", "onto")
TITLE = "A delta on a base pretrained further"
CAPTION = (
    "Scores with one standard error of a post-trained model (post), and of its delta on the base "
    "whose pretraining was continued on new texts (continued + D). It should know what is in the "
    "new texts, which post does not, and do all other tasks as well as post. Published numbers "
    "(Cao et al. 2025, Table 3) stand beside ours where the pair is theirs and the tasks are of "
    "the same name; prompts and metrics may differ."
)
SUM = "continued + D"

lay_out = _param_delta.lay_out


@dataclass(frozen=True, kw_only=True)
class Params:
    """No options."""


def select(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return the scores of post and of the continued base + D.

    Args:
        table: scores, one row per variant and task.
        params: none.

    Returns:
        One row per pair, onto (whose base is the continued one), task, checkpoint and source (ours
        or published): unit (%, or the metric where it is no share), score in that unit and stderr.

    Raises:
        UserError: no such variant, or variants that edit other tensors.
    """
    sums = _param_delta.plain(_onto.sums(table))
    if sums.empty:
        raise UserError("nothing to draw: no variant that adds one delta, times 1, to another base")
    columns = [("post", _param_delta.of_end(table, sums, "post", "pair")), (SUM, sums)]
    numbers = []
    for (pair, onto), _ in groups(sums, ["pair", "onto"]):
        if size := _onto.size_of(table, pair, "3.1"):
            names = {
                f"post_{size.lower()}": "post",
                f"continual_plus_delta_{size.lower()}": SUM,
            }
            theirs = published.read("param_delta_table3")[["benchmark", *names]]
            numbers.append(theirs.rename(columns=names).assign(pair=pair, onto=onto))
    return _param_delta.gather(columns, numbers)
