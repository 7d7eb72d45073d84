"""A real Slurm of two nodes, one with GPUs, for tests: all on loopback and under one folder.

It needs no systemd, no cgroups, nothing under /etc, and no particular user; Debian has it in
slurmctld, slurmd, slurm-client and munge.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "squeue", "sbatch")
SBIN = "/usr/sbin"  # not on every user's PATH
NODES = ("node-cpu", "node-gpu")
CPUS, MEMORY_MB, GPUS = 8, 32_000, 2  # of a node, whatever the machine has; GPUs of one of them

# What differs from Slurm's defaults, and why:
# - config_overrides: a node may claim more processors than the machine has;
# - linuxproc, task/none, cgroup.conf: no cgroups;
# - jobacct_gather/linux with OverMemoryKill: a job that takes more memory than it asked for is
#   ended, which cgroups would do elsewhere;
# - EnforcePartLimits: what no node can hold is refused, not queued for ever;
# - MinJobAge: squeue tells of ended jobs for ten minutes, for Snakemake and for the tests.
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SchedulerParameters=sched_interval=2,bf_interval=5,sched_min_interval=0,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
MailProg=/bin/true
SwitchType=switch/none
EnforcePartLimits=ALL
ReturnToService=2
MinJobAge=600
KillWait=2
CompleteWait=0
GresTypes=gpu
NodeName=DEFAULT CPUs={cpus} RealMemory={memory}
NodeName=node-cpu NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]}
NodeName=node-gpu NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} Gres=gpu:toy:{gpus}
PartitionName=main Nodes=ALL Default=YES MaxTime=04:00:00 State=UP
"""
NO_CGROUPS = (
    "CgroupPlugin=cgroup/v1\nConstrainCores=no\nConstrainRAMSpace=no\nConstrainDevices=no\n"
)


def missing() -> list[str]:
    """Return the programs of Slurm that are not installed."""
    path = f"{os.environ['PATH']}:{SBIN}"
    return [program for program in PROGRAMS if not shutil.which(program, path=path)]


@dataclass
class Job:
    """What Slurm says of a job, also of one that has ended."""

    id: int
    state: str  # such as PENDING, RUNNING, COMPLETED, FAILED, TIMEOUT, CANCELLED
    rule: str
    wildcards: str
    node: str
    memory_mb: int
    minutes: int
    gpus: int


@dataclass
class Cluster:
    """A Slurm that runs."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)  # of programs that talk to it

    def start(self) -> None:
        """Start all daemons; raise RuntimeError with their logs if the node does not come up."""
        for name in ("munge", "state", "devices", "bin"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)  # munged's socket must be reachable
        settings = self._configure()
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(settings),
            "PATH": f"{self._shim()}:{os.environ['PATH']}:{SBIN}",
        }
        self._start_munged()
        self.start_slurmctld()
        for node in NODES:
            (self.folder / "spool" / node).mkdir(parents=True, exist_ok=True)
            self._run("slurmd", "-f", str(settings), "-N", node)
        states = ["sinfo", "--noheader", "--Node", "--format=%T"]
        self.wait(lambda: self._ask(*states).split() == ["idle"] * len(NODES), "nodes", 30)

    def start_slurmctld(self) -> None:
        self._run("slurmctld", "-f", self.environment["SLURM_CONF"])

    def stop(self) -> None:
        """End all jobs and daemons."""
        with suppress(subprocess.SubprocessError):
            self._ask("scancel", f"--user={getpass.getuser()}")
        for name in (*NODES, "slurmctld", "munge/munged"):
            self.stop_daemon(name)

    def stop_daemon(self, name: str) -> None:
        """End a daemon by the number in its file, and wait until it is gone."""
        file = self.folder / f"{name}.pid"
        with suppress(FileNotFoundError, ValueError, ProcessLookupError):
            process = int(file.read_text())
            os.kill(process, signal.SIGTERM)
            for _ in range(100):
                os.kill(process, 0)  # raises once it is gone
                time.sleep(0.1)
            os.kill(process, signal.SIGKILL)

    def jobs(self) -> list[Job]:
        """Return all jobs, oldest first; none while Slurm is down."""
        with suppress(subprocess.SubprocessError):
            lines = self._ask("scontrol", "--oneliner", "show", "job").splitlines()
            found = [_job(line) for line in lines if line.startswith("JobId=")]
            return sorted(found, key=lambda job: job.id)
        return []

    def control(self, *args: str) -> str:
        """Call scontrol."""
        return self._ask("scontrol", *args)

    def cancel(self, job: Job) -> None:
        self._ask("scancel", str(job.id))

    def wait(self, condition, what: str, seconds: float = 300):
        """Return the condition's value once it is true; raise RuntimeError if it takes longer."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(subprocess.SubprocessError):
                if value := condition():
                    return value
            time.sleep(0.2)
        logs = [f"{log}:\n{log.read_text()[-2000:]}" for log in self.folder.glob("*.log")]
        raise RuntimeError("\n".join([f"{what}: not within {seconds} s", *logs]))

    def _ask(self, *command: str) -> str:
        # Slurm's programs try for minutes if slurmctld is down.
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout

    def _run(self, *command: str) -> None:
        """Start a daemon, which puts itself into the background."""
        done = subprocess.run(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} did not start: {done.stderr}")

    def _configure(self) -> Path:
        host = socket.gethostname().split(".")[0]
        (self.folder / "cgroup.conf").write_text(NO_CGROUPS)
        # A GPU is a device file, of which Slurm only wants to know that it is one.
        devices = [f"/dev/tty{i}" for i in range(GPUS)]
        with suppress(PermissionError):
            for i in range(GPUS):
                file = self.folder / "devices" / f"nvidia{i}"
                os.mknod(file, 0o20600, os.makedev(1, 3))
                devices[i] = str(file)
        lines = [f"NodeName=node-gpu Name=gpu Type=toy File={device}\n" for device in devices]
        (self.folder / "gres.conf").write_text("".join(lines))
        settings = self.folder / "slurm.conf"
        settings.write_text(
            CONFIGURATION.format(
                host=host,
                ports=_free_ports(3),
                user=getpass.getuser(),
                folder=self.folder,
                cpus=CPUS,
                memory=MEMORY_MB,
                gpus=GPUS,
            )
        )
        return settings

    def _shim(self) -> Path:
        """Write a srun that knows this Slurm: Snakemake's jobstep drops SLURM_CONF."""
        srun = shutil.which("srun")
        file = self.folder / "bin" / "srun"
        file.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {srun} "$@"\n')
        file.chmod(0o755)
        return file.parent

    def _start_munged(self) -> None:
        munge = self.folder / "munge"
        munge.chmod(0o755)
        key = munge / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        self._run(
            "munged",
            f"--key-file={key}",
            f"--socket={munge}/socket",
            f"--pid-file={munge}/munged.pid",
            f"--log-file={munge}/munged.log",
            f"--seed-file={munge}/seed",
            "--num-threads=2",
        )


def _job(line: str) -> Job:
    found = dict(pair.partition("=")[::2] for pair in line.split())
    tres = dict(pair.partition("=")[::2] for pair in found["TRES"].split(","))
    rule, _, wildcards = found["Comment"].removeprefix("rule_").partition("_wildcards_")
    hours, minutes, _ = found["TimeLimit"].split(":")
    return Job(
        id=int(found["JobId"]),
        state=found["JobState"],
        rule=rule,
        wildcards=wildcards,
        node=found["NodeList"],
        memory_mb=int(tres["mem"].removesuffix("M")),
        minutes=60 * int(hours) + int(minutes),
        gpus=int(found.get("TresPerJob", "0").rpartition(":")[2]),
    )


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
