"""The benchmark of the edit stage runs, and its tables hold a row per method."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_tables_hold_a_row_per_method_with_ratios(tmp_path):
    names = ["expo", "ties", "low_rank"]
    options = (
        f"--size tiny --runs 1 --threads 1 --folder {tmp_path} --only {','.join(names)}".split()
    )
    command = [sys.executable, ROOT / "benchmarks/edit.py", *options]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    table = [line.strip("| ").split(" | ") for line in out.splitlines() if line.startswith("| ")]
    rows = {cells[0]: cells[1:] for cells in table}
    assert rows.keys() >= set(names)
    assert all(len(cells) == 8 for cells in (rows["expo"], rows["ties"], rows["method"]))
    for name in names:
        *figures, ratio = rows[name]
        value, met = ratio.split(" ")[0], ratio.rpartition(": ")[2]
        assert all(isinstance(float(number.split(" ")[0]), float) for number in [*figures, value])
        assert met in ("met", "not met")
