"""Measure the variants of a slice, one after the other, and none twice."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
    one: Callable[[Path], list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Return the rows that `one` finds of each variant, after what names and describes it.

    Args:
        variants: with the folder of each checkpoint, see `study.variants`.
        keys: what names the slice: pair, sweep and slice, and what it is measured by.
        what: is done, for the progress bar.
        kept: where measurements are kept, see `memo.recall`.
        made_with: all that a measurement depends on beside the variant's weights, as JSON.
        one: measures the checkpoint in a folder.
    """
    rows = []
    label = f"{what} " + "{pair}/{sweep}/{slice}".format(**keys)
    for variant in logs.progress(variants, label):
        folder = Path(variant["folder"])
        key = {"checkpoint": content_digest(folder), **made_with}
        measured = memo.recall(kept, key, partial(one, folder))
        rows += [{**keys, **results.describe(variant), **row} for row in measured]
    return rows
