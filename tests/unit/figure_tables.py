"""Tables of made-up measurements, with the columns that the workflow's result files have."""

from dataclasses import asdict

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from deltaedit import edits, results

TASKS = ("sums", "facts")


def variant(sweep, name, method=None, seed=None, tensors=None, **options):
    """Return the columns that say which variant a row is about."""
    spec = {"name": name, "method": method, "options": options, "tensors": tensors, "seed": seed}
    return {"pair": "demo", "sweep": sweep, "slice": "all", **results.describe(spec)}


BASE, POST = variant("ends", "base"), variant("ends", "post")


def edit(method, *, seed=0, sweep="grid", tensors="all", **options):
    """Return the columns of an edited variant, named by what tells it apart."""
    values = "-".join(f"{name}={value}" for name, value in options.items())
    return variant(sweep, f"{method}-{values}-{seed}", method, seed, tensors, **options)


def dare(p, k=0.0, *, rescale=True, **more):
    return edit("dare", drop_rate=p, dropped_scale=k, rescale=rescale, **more)


def bitdelta(blocks=1, *, tensors="linear", **more):
    return edit("bitdelta", blocks=blocks, tensors=tensors, **more)


def low_rank(*, tensors="matrices", **more):
    return edit("low_rank", tensors=tensors, **more)


def expo(alpha, **more):
    return edit("expo", alpha=alpha, sweep="line", **more)


def every_edit():
    """Return a variant of every series that there is: of each method, dare and biased as two."""
    found = {name: asdict(edits.load(name).EXAMPLE) for name in edits.NAMES}
    both = {"delta": found["biased"], "product": found.pop("biased") | {"by": "product"}}
    return [
        dare(0.5, rescale=False),
        *(edit(name, **options) for name, options in found.items()),
        *(edit("biased", **options) for options in both.values()),
    ]


def of_pair(pair, *variants):
    """Return variants as those of another pair."""
    return [which | {"pair": pair} for which in variants]


def scores(*measured, tasks=TASKS, metric="acc", how="none"):
    """Make a table of scores; `measured` are (variant, value of each task, stderr)."""
    rows = [
        which | {"suite": "demo", "task": task, "metric": metric, "filter": how, "value": value}
        | {"stderr": stderr, "count": 200}
        for which, values, stderr in measured
        for task, value in zip(tasks, np.broadcast_to(values, len(tasks)), strict=True)
    ]  # fmt: skip
    return results._typed(pd.DataFrame(rows))


def slopes(*measured, nodes=((0.0, 0.25), (0.5, 0.75)), rule="left"):
    """Make a table of slopes; `measured` are (variant, tensor -> slope per node, change)."""
    rows = [
        which | {"loss": "demo", "quadrature": rule, "node": node, "weight": weight}
        | {"tensor": tensor, **_part(tensor), "slope": slope, "loss_post": 1.0}
        | {"loss_edited": 1.0 + change, "measured_change": change}
        | {"measured_stderr": 0.25, "approximate_stderr": 0.125}
        for which, terms, change in measured
        for tensor, values in terms.items()
        for (node, weight), slope in zip(nodes, values, strict=True)
    ]  # fmt: skip
    return results._typed(pd.DataFrame(rows))


def _part(tensor):
    """Return layer and group of a tensor such as "layers.3.q_proj"; all others are embeddings."""
    if not tensor.startswith("layers."):
        return {"layer": None, "group": "embedding"}
    _, layer, name = tensor.split(".")
    return {"layer": int(layer), "group": {"mlp": "feed_forward"}.get(name, "attention")}


def losses(changes, rule="left"):
    """Make slopes whose sums are the first of a variant's two numbers; the second is measured."""
    rows = ((which, {"x": (sum_of, sum_of)}, found) for which, sum_of, found in changes)
    return slopes(*rows, rule=rule)


def sizes(*stored, whole=1000):
    """Make a table of sizes; `stored` are (variant, form, bytes)."""
    rows = [
        which | {"form": form, "bytes": count, "checkpoint_bytes": whole}
        for which, form, count in stored
    ]
    return results._typed(pd.DataFrame(rows))


def curvature(value, pair="demo"):
    return pd.DataFrame([{"pair": pair, "loss": "demo", "curvature": value}])


def together(*tables):
    return pd.concat(tables, ignore_index=True)


SCORES = scores(
    (BASE, (0.125, 0.25), 0.02),
    (POST, (0.75, 0.875), 0.03),
    (dare(0.25), (0.5, 0.75), 0.01),
    (dare(0.75), (0.25, 0.625), 0.02),
    (dare(0.25, -0.5), (0.375, 0.5), 0.03),
    (dare(0.75, -0.5), (0.125, 0.375), 0.04),
    (dare(0.25, rescale=False), (0.5, 0.5), 0.05),
    (dare(0.25, 0.5, rescale=False), (0.0, 0.0), 0.05),
    (edit("biased", by="delta", drop_rate=0.25, dropped_scale=-0.5), (0.25, 0.5), 0.03),
    (edit("biased", by="product", drop_rate=0.25, dropped_scale=-0.5), (0.0, 0.25), 0.01),
    (edit("ties", drop_rate=0.25), (0.75, 0.75), 0.02),
    (low_rank(rank=16), (0.625, 0.75), 0.02),
    (bitdelta(), (0.625, 0.75), 0.03),
    (bitdelta(2), (0.6875, 0.8125), 0.02),
    (bitdelta(4), (0.75, 0.875), 0.01),
    (bitdelta(scale_multiple=2.0), (0.5, 0.25), 0.01),
    (bitdelta(magnitude="normal"), (0.375, 0.5), 0.01),
    (expo(0.25), (1.0, 0.75), 0.01),
    (expo(-0.5), (0.5, 0.75), 0.01),
)
SLOPES = slopes(
    (dare(0.25), {"layers.3.q_proj": (1e-4, 3e-4), "embed": (-1e-5, -2e-5)}, 0.5),
    (dare(0.75), {"layers.3.q_proj": (2e-3, 4e-3), "embed": (1e-4, -8e-4)}, 0.01),
    (dare(0.75, rescale=False), {"layers.3.q_proj": (2.0, 4.0), "embed": (0.5, 0.25)}, 5.0),
    (dare(0.75, -0.5), {"layers.3.q_proj": (9.0, 9.0), "embed": (9.0, 9.0)}, 9.0),
    (expo(0.25), {"layers.3.q_proj": (9.0, 9.0), "embed": (9.0, 9.0)}, 9.0),
    (POST, {"layers.3.q_proj": (9.0, 9.0), "embed": (9.0, 9.0)}, 9.0),
)
SIZES = sizes(
    (dare(0.75), "sparse", 400), (low_rank(rank=16), "adapter", 90), (bitdelta(), "packed", 60)
)
TABLES = {
    ("suite",): SCORES,
    ("loss",): SLOPES,
    ("loss", "suite"): together(SCORES, SLOPES),
    ("suite", "size"): together(SCORES, SIZES),
    ("loss", "suite", "curvature"): together(SCORES, SLOPES, curvature(0.5)),
}


def make(kind, table):
    params = kind.Params()
    return kind.draw(kind.select(table, params), params)


def marks(container):
    """Return the points of an errorbar, and the ends of their vertical bars."""
    line, _, bars = container.lines
    points = list(zip(line.get_xdata(), line.get_ydata(), strict=True))
    ends = [[tuple(bar[:, 1]) for bar in some.get_segments()] for some in bars]
    return points, ends[-1] if ends else []


def texts(figure):
    """Return the labels of the legend below all panels."""
    return [text.get_text() for text in figure.legends[0].get_texts()]


def check_text(figure, monkeypatch, more_than, apart=lambda text: True):
    """Check that all text is inside the figure, and that what is to stand `apart` does."""
    figure.set_dpi(200)
    written = []
    draw = Text.draw
    monkeypatch.setattr(Text, "draw", lambda self, *a: written.append(self) or draw(self, *a))
    FigureCanvasAgg(figure).draw()
    shown = [text for text in set(written) if text.get_visible() and text.get_text()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown]
    assert len(boxes) > more_than
    for text, box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0, text
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text
    labels = [(text, box) for text, box in boxes if apart(text)]
    for i, (text, box) in enumerate(labels):
        for other, other_box in labels[:i]:
            assert not box.overlaps(other_box), f"{text!r} over {other!r}"
