"""Measure the variants of a slice, one after the other, and nothing twice."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deltaedit import logs, memo, results
from deltaedit.checkpoints import content_digest


def measure(
    variants: Sequence[Mapping[str, Any]],
    keys: Mapping[str, str],
    what: str,
    kept: str | Path,
    made_with: Mapping[str, Any],
    one: Callable[..., list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Return the rows that `one` finds of each variant, after what names and describes it.

    Args:
        variants: with the folder of each checkpoint, see `study.variants`.
        keys: what names the slice: pair, sweep and slice, and what it is measured by.
        what: is done, for the progress bar.
        kept: where measurements are kept, see `memo.recall`.
        made_with: all that a measurement depends on beside the variant's weights and its unit, as
            JSON.
        one: `one(folder, keep=...)` measures the checkpoint in a folder, with a `memo.Keep` for its
            units.
    """
    rows = []
    label = f"{what} " + "{pair}/{sweep}/{slice}".format(**keys)
    for variant in logs.progress(variants, label):
        folder = Path(variant["folder"])
        keep = memo.keeper(kept, {"checkpoint": content_digest(folder), **made_with})
        measured = one(folder, keep=keep)
        rows += [{**keys, **results.describe(variant), **row} for row in measured]
    return rows
