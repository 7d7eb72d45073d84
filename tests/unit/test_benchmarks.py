"""The benchmarks run, and their tables hold a row per method or way."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def table(script, options):
    """Run a benchmark; return the cells of every row of its tables by their first."""
    command = [sys.executable, ROOT / "benchmarks" / script, *options.split()]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.strip("| ").split(" | ") for line in out.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in rows}


def test_tables_hold_a_row_per_method_with_ratios(tmp_path):
    names = ["expo", "ties", "low_rank"]
    options = f"--size tiny --runs 1 --threads 1 --folder {tmp_path} --only {','.join(names)}"
    rows = table("edit.py", options)
    assert rows.keys() >= set(names)
    assert all(len(cells) == 8 for cells in (rows["expo"], rows["ties"], rows["method"]))
    for name in names:
        *figures, ratio = rows[name]
        value, met = ratio.split(" ")[0], ratio.rpartition(": ")[2]
        assert all(isinstance(float(number.split(" ")[0]), float) for number in [*figures, value])
        assert met in ("met", "not met")


def test_a_node_is_timed_and_weighed_against_plain_passes(tmp_path):
    small = (
        f"--size tiny --rows 2 --tokens 16 --variants 3 --runs 1 --threads 1 --folder {tmp_path}"
    )
    rows = table("loss.py", small)
    for label, count in {"1 x 2 x 16": 6, "ours": 4, "gradients kept": 4, "3": 4}.items():
        figures = [float(cell.split(" ")[0]) for cell in rows[label]]
        assert len(figures) == count
        assert all(figure > 0 for figure in figures)
    for cell in (rows["1 x 2 x 16"][2], rows["1 x 2 x 16"][5], rows["ours"][3]):
        assert cell.rpartition(": ")[2] in ("met", "not met")
    assert float(rows["3"][3]) == pytest.approx(13 / 15, abs=0.01)


def test_image_evaluation_is_timed_against_bare_passes_and_processes(tmp_path):
    small = "--size demo --pictures 9 --batch 4 --variants 2 --processes 1 --runs 1 --threads 1"
    rows = table("vision.py", f"{small} --folder {tmp_path}")
    for label, count in {"demo: 9, 4 at once": 4, "2": 7}.items():
        figures = [float(cell.split(" ")[0]) for cell in rows[label]]
        assert len(figures) == count
        assert all(figure > 0 for figure in figures)
        assert rows[label][-1].rpartition(": ")[2] in ("met", "not met")
    one, imports, loads, *_ = map(float, rows["2"][:-1])
    assert imports + loads < one
