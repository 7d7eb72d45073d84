"""Where a result comes from: versions, device, commit, and the checkpoints behind it."""

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[3]


def record(pair: str, sources: Mapping[str, Any], *packages: str, **more: Any) -> dict[str, Any]:
    """Return what every result carries: the pair, versions and this project's commit.

    Args:
        pair: the pair's name.
        sources: the config's description of base and post, with revisions.
        packages: installed packages whose versions matter to the result.
        more: further entries, such as seed, dtype or device.
    """
    return {
        "pair": pair,
        "base": dict(sources["base"]),
        "post": dict(sources["post"]),
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
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
