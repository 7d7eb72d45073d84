"""Bring README.md up to date with the last `make demo`: its tables, its figures, its rule graph.

And with the last demo of ParamDelta in studies/param-delta, and docs/cluster.md with what jobs
ask for.

Run by `make readme`. What stands between a pair of markers `<!-- name -->` is replaced.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow/scripts"))

from deltaedit import needs
from deltaedit.needs import Needs, Size

LLAMA_8B = Size(stored=16_060_522_496, entries=8_030_261_248, largest=128_256 * 4096)
FIGURES = ("dare_accuracy", "loss_terms", "approximation", "loss_and_accuracy", "intensity")
FIGURES += ("size", "vision_accuracy")
PARAM_DELTA = ROOT / "studies/param-delta/results"
PARAM_DELTA_FIGURES = ("scale", "loss_along_scale", "efficiency", "cosines")
ROWS = {  # label -> (pair, sweep, variant)
    "base (pretrained)": ("demo_lm", "ends", "base"),
    "post (post-trained)": ("demo_lm", "ends", "post"),
    "DARE, p = 0.5": ("demo_lm", "dare_grid", "drop_rate=0.5,dropped_scale=0.0"),
    "DARE, p = 0.9": ("demo_lm", "dare_grid", "drop_rate=0.9,dropped_scale=0.0"),
    "DARE with k = 0.5, p = 0.9": ("demo_lm", "dare_grid", "drop_rate=0.9,dropped_scale=0.5"),
    "drop only, p = 0.5": ("demo_lm", "dare_grid", "drop_rate=0.5,rescale=false"),
    "drop only, p = 0.9": ("demo_lm", "dare_grid", "drop_rate=0.9,rescale=false"),
    "post, stopped early": ("demo_lm_early", "ends", "post"),
    "the same, ExPO with alpha = 0.2": ("demo_lm_early", "early", "method=expo,alpha=0.2"),
}


def accuracies(scores: pd.DataFrame) -> str:
    """Return the table of `ROWS`, one column per task of the suite demo, in %."""
    scores = scores[scores["suite"] == "demo"]
    tasks = list(dict.fromkeys(scores["task"]))
    lines = [f"| | {' | '.join(tasks)} |", "| --- |" + " ---: |" * len(tasks)]
    table = scores.set_index(["pair", "sweep", "variant", "task"])["value"]
    for label, place in ROWS.items():
        values = (f"{100 * table[(*place, task)]:.1f}" for task in tasks)
        lines.append(f"| {label} | {' | '.join(values)} |")
    return "\n".join(lines)


def gaps(changes: pd.DataFrame) -> str:
    """Return how far each quadrature is from the measured change, by method, in % of it.

    A change below 1e-3 nats counts as 1e-3.
    """
    rows = changes[changes["method"].notna()]
    gap = 100 * rows["gap"].abs() / rows["measured_change"].abs().clip(lower=1e-3)
    rules = list(dict.fromkeys(rows["quadrature"]))
    lines = [
        f"| method | variants | {' | '.join(f'{rule}, median | 90th' for rule in rules)} |",
        "| --- | ---: |" + " ---: | ---: |" * len(rules),
    ]
    every = rows.assign(gap=gap, method="all")
    for method, found in pd.concat([rows.assign(gap=gap), every]).groupby("method", sort=False):
        by_rule = [found[found["quadrature"] == rule]["gap"] for rule in rules]
        numbers = (f"{_short(g.median())} | {_short(g.quantile(0.9))}" for g in by_rule)
        lines.append(f"| {method} | {len(by_rule[0])} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def claims(found: pd.DataFrame) -> str:
    """Return how often our numbers agree with each claim, over pairs, methods and options."""
    verdicts = ["agrees", "disagrees", "undecided"]
    lines = [f"| claim | {' | '.join(verdicts)} |", "| --- |" + " ---: |" * len(verdicts)]
    found = found[found["verdict"] != "reported"].replace({"verdict": {"partly": "disagrees"}})
    for claim, rows in found.groupby("claim", sort=False):
        counts = rows["verdict"].value_counts()
        lines.append(f"| {claim} | {' | '.join(str(counts.get(v, '')) for v in verdicts)} |")
    return "\n".join(lines)


def rule_graph() -> str:
    """Return Snakemake's graph of the rules as a mermaid diagram, without its colours."""
    command = [sys.executable, "-m", "snakemake", "--rulegraph", "mermaid-js"]
    graph = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = dict(re.findall(r"^\s*(id\d+)\[(\w+)\]", graph, re.MULTILINE))
    edges = re.findall(r"^\s*(id\d+) --> (id\d+)", graph, re.MULTILINE)
    lines = sorted(f"    {names[a]} --> {names[b]}" for a, b in edges)
    return "\n".join(["```mermaid", "flowchart TB", *lines, "```"])


def needs_of_8b() -> str:
    """Return what jobs of a pair of 8 billion parameters ask for at first."""
    suite = {"dtype": "bfloat16", "tasks": dict.fromkeys(range(8)), "backend": "hf", "limit": None}
    loss = {"count": 200, "quadrature": ["left"], "intervals": 5}
    asked = {
        "extract the delta, edit": needs.editing(LLAMA_8B, 1, whole=False),
        "edit by low_rank, store other forms": needs.editing(LLAMA_8B, 1, whole=True),
        "singular vectors, once for all ranks": needs.decomposition(LLAMA_8B),
        "evaluate on eight tasks, in bfloat16": needs.evaluation(LLAMA_8B, suite, 1),
        "gradient of a loss over 200 examples": needs.gradient(LLAMA_8B, loss),
        "its curvature, 8 probes": needs.curvature(LLAMA_8B, loss, 8),
        "its change, 5 intervals": needs.loss_change(LLAMA_8B, loss, 1),
    }
    lines = ["| job | memory GB | GPUs | hours |", "| --- | ---: | ---: | ---: |"]
    return "\n".join([*lines, *(_asked(job, found) for job, found in asked.items())])


def _asked(job: str, found: Needs) -> str:
    gpus = found.gpus(1, needs.GPU_MB)
    return f"| {job} | {found.mem_mb / 1000:.0f} | {gpus} | {found.minutes / 60:.1f} |"


def replace(text: str, name: str, block: str) -> str:
    """Put `block` between the markers of `name`; one marker alone becomes a pair."""
    marker = f"<!-- {name} -->"
    head, _, rest = text.partition(marker)
    tail = rest.partition(marker)[2] if marker in rest else rest
    return f"{head}{marker}\n{block}\n{marker}{tail}"


def main() -> None:
    readme = ROOT / "README.md"
    tables = ROOT / "results/tables"
    text = readme.read_text()
    for name, block in (
        ("accuracies", accuracies(pd.read_csv(tables / "scores.csv"))),
        ("gaps", gaps(pd.read_csv(tables / "loss_changes.csv"))),
        ("claims", claims(pd.read_csv(tables / "claims.csv"))),
        ("rulegraph", rule_graph()),
        ("param_delta", (PARAM_DELTA / "tables/scenario_1.md").read_text().strip()),
    ):
        text = replace(text, name, block)
    readme.write_text(text)
    cluster = ROOT / "docs/cluster.md"
    cluster.write_text(replace(cluster.read_text(), "needs", needs_of_8b()))
    for results, folder, figures in (
        (ROOT / "results", ROOT / "docs/figures", FIGURES),
        (PARAM_DELTA, ROOT / "docs/figures/param-delta", PARAM_DELTA_FIGURES),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        for figure in figures:
            shutil.copy(results / f"figures/{figure}.png", folder)


if __name__ == "__main__":
    main()
