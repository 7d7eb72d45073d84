"""Jobs that a killed run left in Slurm's queue: they go on, and no new run may start them twice."""

import getpass
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from deltaedit.errors import UserError

INTERVAL = 10  # seconds between two looks at the queue


def wait_for_earlier(folder: Path, say: Callable[[str], None]) -> None:
    """Wait until no job that an earlier run submitted from a folder is in Slurm's queue.

    Snakemake marks each output that is being made. Where there are no marks, and while a run holds
    the folder's lock (Snakemake then refuses a second), nothing is asked.

    Args:
        folder: the working folder.
        say: tells the user what is waited for.

    Raises:
        UserError: there are marks, but Slurm does not answer.
    """
    state = folder / ".snakemake"
    marks = (path for path in (state / "incomplete").rglob("*") if path.is_file())
    if any((state / "locks").glob("*")) or not any(marks) or not shutil.which("squeue"):
        return
    told = False
    while left := _queued(folder):
        if not told:
            jobs = ", ".join(f"{job} ({what})" for job, what in left.items())
            say(
                f"waiting for Slurm jobs of an earlier run: {jobs}; to end them: scancel"
                f" {' '.join(left)}"
            )
            told = True
        time.sleep(INTERVAL)


def _queued(folder: Path) -> dict[str, str]:
    """Return a folder's jobs that wait or run, each with its comment: its rule and wildcards."""
    command = ["squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%i|%k|%Z"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(
            "an earlier run may have left jobs in Slurm's queue, and Slurm does not answer:"
            f" {' '.join(done.stderr.split())}"
        )
    jobs = (line.split("|", 2) for line in done.stdout.splitlines())
    return {
        job: what
        for job, what, place in jobs
        if what.startswith("rule_") and Path(place).resolve() == folder.resolve()
    }
