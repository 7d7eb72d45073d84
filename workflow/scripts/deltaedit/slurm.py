"""Jobs that a killed run left in Slurm's queue: they go on, and no new run may start them twice."""

import getpass
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from deltaedit.errors import UserError

INTERVAL = 10  # seconds between two looks at the queue
NOTE = "submits"  # in Snakemake's folder: a run handed jobs to Slurm


def note_submissions(folder: Path) -> None:
    """Note that a run in this folder hands its jobs to Slurm."""
    (folder / ".snakemake" / NOTE).touch()


def wait_for_earlier(folder: Path, say: Callable[[str], None]) -> None:
    """Wait until no job that an earlier run submitted from a folder is in Slurm's queue.

    Snakemake marks each output that is being made. Where there are no marks, where no run noted
    that it submits, and while a run holds the folder's lock (Snakemake then refuses a second),
    nothing is asked.

    Args:
        folder: the working folder.
        say: tells the user what is waited for.

    Raises:
        UserError: jobs may be left, but Slurm does not answer.
    """
    state = folder / ".snakemake"
    marks = (path for path in (state / "incomplete").rglob("*") if path.is_file())
    if any((state / "locks").glob("*")) or not (state / NOTE).exists() or not any(marks):
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
    (state / NOTE).unlink(missing_ok=True)  # another run may have waited too


def _queued(folder: Path) -> dict[str, str]:
    """Return a folder's jobs that wait or run, each with its comment: its rule and wildcards."""
    command = ["squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%i|%k|%Z"]
    if not shutil.which(command[0]):
        raise UserError(
            "an earlier run may have left jobs in Slurm's queue, and here is no squeue to ask:"
            " run this where that run was started"
        )
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
