"""A Slurm for each file of tests, and the workflow submitted to it by the profile that ships."""

import copy
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from ..project import Project
from .cluster import Cluster, Job, missing

HOLD = Path(__file__).parent / "hold"
HELD = "results/tiny/eval/ends/all/hold.json"  # what waits in that task
RULE = "evaluate_variants"  # and what makes it
PROFILE = ("--workflow-profile", "workflow/profiles/slurm")
# What is slow on purpose where files take time to appear and Slurm must not be asked too often.
HURRY = ("--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "10")


@pytest.fixture(scope="module")
def cluster():
    assert not missing(), f"not installed: {', '.join(missing())}; `make test-slurm` installs Slurm"
    # In a short path: the name of munge's socket must fit into 108 bytes.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    running = Cluster(folder)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder)


@dataclass
class Run:
    """A snakemake that submits jobs, in the background."""

    process: subprocess.Popen
    output: Path

    def finish(self, seconds: float = 600) -> str:
        """Wait for its end; return what it said, or raise AssertionError if it failed."""
        code = self.process.wait(seconds)
        assert code == 0, self.output.read_text()
        return self.output.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Site:
    """A project on a cluster."""

    project: Project
    cluster: Cluster
    runs: list[Run]
    first: int  # number of its first job; those before are of earlier tests

    @property
    def folder(self) -> Path:
        return self.project.folder

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", *PROFILE, *HURRY, *args]

    def submit(self, *args: str) -> Run:
        """Start the workflow as a user does on a login node, where Ctrl-C reaches it.

        Tests that a shell runs in the background ignore it, and what they start would too.
        """
        output = self.folder / "run.log"
        with output.open("a") as stream:
            process = subprocess.Popen(
                self.command(*args),
                cwd=self.folder,
                env=self.cluster.environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
            )
        self.runs.append(Run(process, output))
        return self.runs[-1]

    def close(self) -> None:
        """End what a failed test left."""
        for run in self.runs:
            run.kill()
        for job in self.jobs():
            self.cluster.cancel(job)

    def release(self) -> None:
        """Let the task `hold` go on."""
        (self.folder / "release").touch()

    def jobs(self, rule: str = "") -> list[Job]:
        """Return this project's jobs, of one rule or of all, oldest first."""
        found = (job for job in self.cluster.jobs() if job.id >= self.first)
        return [job for job in found if rule in ("", job.rule)]

    def wait_for(self, rule: str, state: str, count: int = 1) -> Job:
        """Wait until the last of `count` jobs of a rule is in a state; return it."""

        def last():
            jobs = self.jobs(rule)
            return len(jobs) == count and jobs[-1].state == state and jobs[-1]

        return self.cluster.wait(last, f"{rule} {state}, {count} jobs; {self.output()[-3000:]}")

    def wait_until_held(self) -> Job:
        """Wait until the job has measured the first of its tasks and waits in the second."""
        job = self.wait_for(RULE, "RUNNING")
        self.cluster.wait(self.kept, f"a measurement; {self.output()[-3000:]}")
        return job

    def kept(self) -> list[Path]:
        """Return the measurements that are there already."""
        return sorted((self.folder / "results/tiny/kept").glob("*.json"))

    def recalled(self) -> int:
        """Count the measurements that the last attempt found made."""
        log = self.folder / "logs/evaluate_variants/tiny/ends/all/hold.log"
        return log.read_text().count("recalled") if log.exists() else 0

    def output(self) -> str:
        """Return what the last runs said."""
        return (self.folder / "run.log").read_text()


@pytest.fixture
def site(make_project, cluster, tiny_config):
    """A project whose suite `hold` waits within its second task; nothing has run."""
    project = make_project()
    shutil.copytree(HOLD, project.folder / "workflow/tasks/hold")
    config = copy.deepcopy(tiny_config)
    tasks = {name: {"metric": "acc"} for name in ("demo_truth", "hold")}
    config["suites"] = {"hold": {"tasks": tasks, "batch_size": 8, "limit": 4}}
    config["runs"] = [{"pair": "tiny", "sweeps": ["dare"], "suites": ["hold"]}]
    config["figures"] = {}
    project.configure(config)
    first = 1 + max((job.id for job in cluster.jobs()), default=0)
    site = Site(project, cluster, [], first)
    yield site
    site.close()
