"""Jobs that a killed run left in Slurm's queue: they go on, and no new run may start them twice."""

import getpass
import json
import subprocess
import time
from pathlib import Path

from deltaedit.errors import UserError
from deltaedit.logs import note

INTERVAL = 10  # seconds between two looks at the queue


def wait_for_earlier(folder: Path) -> None:
    """Wait until no job that an earlier run submitted from a folder is in Slurm's queue.

    Snakemake marks an output with the job that makes it, until it is whole. While a run holds the
    folder's lock nothing is done: its jobs are not an earlier run's, and Snakemake refuses a second.

    Args:
        folder: the working folder.

    Raises:
        UserError: there are such marks, but Slurm does not answer.
    """
    state = folder / ".snakemake"
    if any((state / "locks").glob("*")) or not (marked := _marked(state / "incomplete")):
        return
    told = False
    while left := {job: what for job, what in _queued().items() if job in marked}:
        if not told:
            jobs = ", ".join(f"{job} ({what})" for job, what in left.items())
            note(
                f"waiting for Slurm jobs of an earlier run: {jobs}; to end them: scancel"
                f" {' '.join(left)}"
            )
            told = True
        time.sleep(INTERVAL)


def _marked(folder: Path) -> set[str]:
    """Return the Slurm jobs whose outputs are marked as unfinished."""
    marks = (json.loads(path.read_text() or "{}") for path in folder.rglob("*") if path.is_file())
    return {mark["external_jobid"] for mark in marks if mark.get("external_jobid")}


def _queued() -> dict[str, str]:
    """Return the user's jobs that wait or run, each with its comment: the rule and wildcards."""
    command = ["squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%i|%k"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError(
            "a run that was killed may have left jobs in Slurm's queue, and there is no squeue here"
            " to ask; start on a machine that has it, or, if there are none, delete"
            " .snakemake/incomplete"
        ) from None
    if done.returncode:
        raise UserError(
            "a run that was killed may have left jobs in Slurm's queue, which does not answer:"
            f" {' '.join(done.stderr.split())}"
        )
    return dict(line.split("|", 1) for line in done.stdout.splitlines())
