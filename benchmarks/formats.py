"""Measure the size of each form of a variant against its checkpoint.

    python benchmarks/formats.py --size 134M --folder /tmp/deltaedit > table.md

The pair is the synthetic one of `edit.py`, made once in the folder. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow/scripts"))
os.environ["PYTHONPATH"] = str(ROOT / "workflow/scripts")

import edit as edit_benchmark

from deltaedit import formats
from deltaedit.checkpoints import Checkpoint
from deltaedit.edit import Sources, write_variants

VARIANTS: list[tuple[str, str, dict[str, Any], str]] = [  # form, method, options, tensors
    ("adapter", "low_rank", {"sparsity": 0.9}, "linear"),
    ("adapter", "low_rank", {"rank": 16}, "linear"),
    ("packed", "bitdelta", {"zero": "plus"}, "linear"),
    ("packed", "bitdelta", {"zero": "plus"}, "matrices"),
    ("sparse", "dare", {"drop_rate": 0.5}, "all"),
    ("sparse", "dare", {"drop_rate": 0.9}, "all"),
    ("sparse", "ties", {"drop_rate": 0.9}, "all"),
]


def size(folder: Path) -> int:
    """Return the bytes of a folder's weights."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=edit_benchmark.SIZES, default="134M")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/deltaedit"))
    args = parser.parse_args()
    pair = args.folder / f"pair-{args.size}"
    if not pair.exists():
        edit_benchmark.run(edit_benchmark.make_pair, folder=str(pair), size=args.size)
    base, post = (Checkpoint(pair / end) for end in ("base", "post"))
    print(f"`python {' '.join(sys.argv)}`\n")
    print("| form | method | tensors | MB | checkpoint MB | share |\n|" + " --- |" * 6)
    for form, method, options, tensors in VARIANTS:
        with tempfile.TemporaryDirectory(dir=args.folder) as place:
            checkpoint, compact = Path(place, "checkpoint"), Path(place, form)
            checkpoint.mkdir()
            compact.mkdir()
            spec = {"name": "it", "method": method, "options": options, "tensors": tensors}
            sources = Sources(base=base, post=post)
            write_variants(sources, [spec | {"seed": 0}], [checkpoint], {"pair": "synthetic"})
            variant = Checkpoint(checkpoint)
            formats.FORMATS[form](base, post, variant, variant.record(), compact)
            ours, whole = size(compact), size(checkpoint)
            words = ", ".join(f"{key}: {value}" for key, value in options.items())
            cells = [form, f"{method} ({words})", tensors, f"{ours / 1e6:.1f}"]
            cells += [f"{whole / 1e6:.1f}", f"{ours / whole:.1%}"]
            print("|", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
