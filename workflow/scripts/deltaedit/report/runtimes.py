"""Run times per rule, from the benchmark files that Snakemake writes for every job."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

COLUMNS = ["rule", "jobs", "total", "median", "longest", "memory"]


def read(folder: str | Path, rules: Iterable[str]) -> pd.DataFrame:
    """Summarise `{rule}.tsv` and `{rule}/**/*.tsv` of a folder of benchmarks.

    Returns:
        One row per rule that has a benchmark, in the order of `rules`: rule, jobs, total, median
        and longest (seconds of wall time), and memory (the largest resident set of a job in MB; NA
        where jobs were too short to measure).
    """
    found = []
    for rule in dict.fromkeys(rules):
        files = [Path(folder, f"{rule}.tsv"), *sorted(Path(folder, rule).rglob("*.tsv"))]
        tables = [pd.read_csv(file, sep="\t", na_values=["-"]) for file in files if file.is_file()]
        if not tables:
            continue
        jobs = pd.concat(tables, ignore_index=True)
        time, memory = jobs["s"].astype(float), jobs["max_rss"].astype(float)
        found.append((rule, len(jobs), time.sum(), time.median(), time.max(), memory.max()))
    return pd.DataFrame(found, columns=COLUMNS)
