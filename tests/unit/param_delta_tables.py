"""Made-up scores of deltas on another base, with the columns that result files have."""

import pandas as pd

from deltaedit import published, results

from .figure_tables import losses

TASKS = ("sums", "facts", "poems")
# Exact in binary: base, post, and the base and post of the pair that takes the delta.
BASE, POST, NEW, NEW_POST = (0.125, 0.25, 0.0), (0.5, 0.75, 0.25), (0.25, 0.25, 0.125), 0.875
LLAMA = {"old": ("3", "8B"), "new": ("3.1", "8B")}


def end(pair, name):
    spec = {"name": name, "method": None, "options": {}, "tensors": None, "seed": None}
    return {"pair": pair, "sweep": "ends", "slice": "all", **results.describe(spec)}


def put(pair, onto, weights=(1.0,), deltas=(), *, sweep="carry", tensors="all", **options):
    """Return the columns of a variant of combine whose sum goes onto the base of `onto`."""
    name = f"{sweep}-{onto}-" + "+".join(map(str, [*weights, *options.values()]))
    spec = {"name": name, "method": "combine", "options": {"weights": list(weights), **options}}
    spec |= {"tensors": tensors, "seed": 0, "onto": onto, "deltas": list(deltas)}
    return {"pair": pair, "sweep": sweep, "slice": "all", **results.describe(spec)}


def scores(*measured, tasks=TASKS, metric="acc", stderr=0.01):
    """Make a table of scores; `measured` are (variant, value of each task, or of all)."""
    rows = [
        which | {"suite": "demo", "task": task, "metric": metric, "filter": "none", "value": value}
        | {"stderr": stderr, "count": 200}
        for which, values in measured
        for task, value in zip(
            tasks, values if isinstance(values, tuple) else [values] * len(tasks), strict=True
        )
    ]  # fmt: skip
    return results._typed(pd.DataFrame(rows))


def ends(pair, base, post, **more):
    return scores((end(pair, "base"), base), (end(pair, "post"), post), **more)


def together(*tables):
    return pd.concat(tables, ignore_index=True)


def as_llama(table, names=LLAMA):
    """Return the table with the repositories that its pairs are said to come from."""
    repos = {pair: published.llama(*which) for pair, which in names.items()}
    found = [repos.get(pair, (None, None)) for pair in table["pair"]]
    return table.assign(
        base_repo=[base for base, _ in found], post_repo=[post for _, post in found]
    )


# The delta of `old` on the base of `new`, at three scales and once half with another delta.
CARRIED = together(
    scores(
        (put("old", "new"), (0.625, 0.75, 0.375)),
        (put("old", "new", [0.5]), (0.5, 0.625, 0.25)),
        (put("old", "new", [1.5]), (0.25, 0.5, 0.25)),
        (put("old", "new", [0.5, 0.5], ["new"]), (0.75, 0.75, 0.5)),
        (put("old", "new", elect=True, sweep="other"), 0.0),
        (put("old", None, sweep="home") | {"variant": "home"}, 0.0),
    ),
    ends("old", BASE, POST),
    ends("new", NEW, NEW_POST),
)
# The same delta's losses, post's being 1: what the sum of slopes tells, and what is measured.
LOST = losses(
    [
        (put("old", "new"), 0.125, 0.25),
        (put("old", "new", [0.5]), 1.0, 2.0),
        (put("old", "new", [1.5]), -2.0, 0.5),
        (put("old", "new", [0.5, 0.5], ["new"]), 0.0, 0.0),
        (end("old", "base"), 3.0, 6.0),
        (end("old", "post"), 0.0, 0.0),
        (end("new", "base"), 4.0, 3.0),
        (end("new", "post"), 0.0, -0.5),
    ]
)
# `general` and `med` are trained on the same base; `med`'s delta goes onto the base of `new`, alone
# and half with the delta of `new` itself.
MEDICAL = together(
    ends("general", 0.125, 0.75),
    scores(
        (put("med", "new"), (0.5, 0.625, 0.75)),
        (put("med", "new", [0.25, 0.5], ["new"]), 0.875),
        (put("med", "new", [0.5], sweep="scale"), 0.0),
    ),
    ends("med", 0.125, (0.25, 0.5, 1.0)),
    ends("new", 0.25, 0.9375),
)
