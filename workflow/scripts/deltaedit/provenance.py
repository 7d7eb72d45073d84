"""Where a result comes from: versions, device, commit, and the checkpoints behind it."""

import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from deltaedit import digest

FILE = "provenance.json"  # stands beside the weights of a checkpoint that was placed here
PROJECT = Path(__file__).parents[3]


def mark(folder: Path, source: Mapping[str, Any]) -> None:
    """Write beside a checkpoint's weights where they come from and what they hash to."""
    sha256 = digest.of_files(folder.glob("*.safetensors"))
    (folder / FILE).write_text(json.dumps({**source, "sha256": sha256}, indent=2) + "\n")


def read(folder: Path) -> dict[str, Any]:
    """Read what stands in the mark of a checkpoint's folder."""
    return json.loads((folder / FILE).read_text())


def record(
    pair: str, ends: Mapping[str, str | Path], *packages: str, **more: Any
) -> dict[str, Any]:
    """Return what every result carries: the pair, versions and this project's commit.

    Args:
        pair: the pair's name.
        ends: the folders of base and post, each marked with its source and content hash.
        packages: installed packages whose versions matter to the result.
        more: further entries, such as seed, dtype or device.
    """
    return {
        "pair": pair,
        **{end: read(Path(folder)) for end, folder in ends.items()},
        **more,
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
        "commit": commit(),
    }


def commit() -> str:
    """Return this project's git commit, "+changes" if the tree differs from it, or "unknown"."""

    def git(*args: str) -> str:
        command = ["git", "-C", str(PROJECT), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (
            "+changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
