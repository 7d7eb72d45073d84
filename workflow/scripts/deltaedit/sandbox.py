"""Run a Python program that nobody has read, where it can do no harm.

It runs as the user nobody, without any capability, in namespaces of its own (users, mounts,
processes, network, IPC), of which it can make no more. It sees the system's libraries, Python and
the installed packages, read-only, and an empty /tmp in memory; no network, no other file, no
variable of the environment. Limits are set to its processor time, time, memory, processes and
files, and all that it started ends with it. For an ordinary user bubblewrap makes that sandbox
where it is installed; else `sandbox_child` does, which takes a kernel that lets users have
namespaces.

It does not protect from errors of the kernel, and no sandbox keeps a program from deceiving its own
tests. Memory is limited for each process: a limit for all together takes a control group, which is
for an administrator to give. Where memory runs out, the kernel ends what is in a sandbox first.
"""

import os
import secrets
import select
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import which
from typing import BinaryIO

from deltaedit import sandbox_child
from deltaedit.errors import UserError

CHILD = Path(sandbox_child.__file__)
SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache")
DEVICES = ("/dev/null", "/dev/urandom")
ENVIRONMENT = {
    "HOME": "/tmp",
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",  # the order of a set decides no test by chance
    "OPENBLAS_NUM_THREADS": "1",  # numpy would start a thread for every core
    "OMP_NUM_THREADS": "1",
}
FIRST_TO_GO = 'echo 1000 > /proc/self/oom_score_adj && exec "$@"'  # where memory runs out


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a program may use."""

    cpu_seconds: int = 3  # of each process; the metric of Hugging Face gives three seconds in all
    seconds: float = 15  # in all: three seconds of work take longer on a busy machine
    memory: int = 2 << 30  # bytes of address space of each process
    processes: int = 16  # and threads; before Linux 5.14 the user's others count too
    file: int = 16 << 20  # bytes of each file
    files: int = 64 << 20  # bytes of all files


DEFAULT = Limits()
# Returns the command that starts a sandbox with some limits, and in it `sandbox_child`, which
# inherits a pipe that the job alone reads.
Way = Callable[[Limits, int], list[str]]


@dataclass(frozen=True)
class Outcome:
    """How a program ended."""

    passed: bool  # it came to its end, without an exception
    result: str  # "passed", "timed out" or "failed: ..."


class NotStartedError(RuntimeError):
    """A sandbox ended before the program began: a fault of the machine, not of the program."""


def run(program: str, limits: Limits = DEFAULT) -> Outcome:
    """Run a Python program in a sandbox, in a new interpreter; what it prints is discarded.

    Raises:
        UserError: this machine has no sandbox.
        NotStartedError: it has, but did not start one this time.
    """
    return run_by(require(), program, limits)


def require() -> Way:
    """Return the way in which sandboxes are started on this machine.

    Raises:
        UserError: there is none; says why.
    """
    way, why_not = _working()
    if way is None:
        raise UserError(f"model-written code has no sandbox on this machine: {why_not}")
    return way


@cache
def _working() -> tuple[Way | None, str]:
    """Return the first way that starts a sandbox, found by trying, or why none does."""
    if sys.platform != "linux":
        return None, f"it takes Linux, this is {sys.platform}"
    reasons = []
    for way in ways():
        try:
            # A module that is not loaded yet, so that Python's files must be there to read.
            outcome = run_by(way, "import decimal", DEFAULT)
        except NotStartedError as error:
            reasons.append(f"{way.__name__}: {error}")
            continue
        if outcome.passed:
            return way, ""
        reasons.append(f"{way.__name__}: {outcome.result}")
    hint = "user namespaces may be switched off, see docs/evaluation.md"
    return None, f"{'; '.join(reasons)} ({hint})"


def ways() -> list[Way]:
    """List the ways to start a sandbox that this user may have, the preferred one first.

    For root not bubblewrap, which gives a program no other user's identity: a limit of processes
    does not bind root.
    """
    has_bubblewrap = which("bwrap") is not None and os.geteuid() != 0
    return [bubblewrap, namespaces] if has_bubblewrap else [namespaces]


def bubblewrap(limits: Limits, pipe: int) -> list[str]:
    """Return the command that starts a sandbox by bubblewrap (0.8 or newer)."""
    shown = []
    for path in visible():
        place = Path(path)
        if place.is_symlink():
            shown += ["--symlink", f"{place.readlink()}", path]
        else:
            shown += ["--dev-bind" if path in DEVICES else "--ro-bind", path, path]
    return [
        f"{which('bwrap')}",
        *[
            "--unshare-all",
            "--unshare-user",
            "--disable-userns",
            "--uid",
            "65534",
            "--gid",
            "65534",
        ],
        *["--new-session", "--die-with-parent", "--size", f"{limits.files}", "--tmpfs", "/tmp"],
        *[*shown, "--ro-bind", f"{CHILD}", "/child.py", "--remount-ro", "/", "--chdir", "/tmp"],
        *_python("/child.py", limits, pipe),
    ]


def namespaces(limits: Limits, pipe: int) -> list[str]:
    """Return the command that starts a sandbox by system calls of our own."""
    return [*_python(f"{CHILD}", limits, pipe), f"{limits.files}", *visible()]


def _python(child: str, limits: Limits, pipe: int) -> list[str]:
    """Return the command of `sandbox_child`, from where it is found in the sandbox."""
    numbers = (pipe, limits.cpu_seconds, limits.memory, limits.processes, limits.file)
    flags = ["-P", "-s", "-S"]  # no path of the caller's, and no time spent on site-packages
    return [_executable(), *flags, child, os.pathsep.join(_packages()), *map(str, numbers)]


def _executable() -> str:
    return os.path.realpath(sys.executable)


def _packages() -> list[str]:
    """List the folders of installed packages, which a program may import."""
    names = ("site-packages", "dist-packages")
    return [os.path.realpath(p) for p in sys.path if Path(p).name in names and Path(p).is_dir()]


@cache
def visible() -> list[str]:
    """List what a program sees of the machine's files, read-only; no path holds another."""
    library = os.path.realpath(Path(sysconfig.get_path("stdlib")).parent)
    wanted = [*SYSTEM, *DEVICES, library, _executable(), *_packages()]
    paths = dict.fromkeys(path for path in wanted if os.path.lexists(path))
    return [p for p in paths if not any(Path(q) in Path(p).parents for q in paths)]


def run_by(way: Way, program: str, limits: Limits) -> Outcome:
    """Run a program in a sandbox started in one way, see `run`."""
    token = secrets.token_hex(8)  # by which the child's words are told from the program's
    deadline = time.monotonic() + limits.seconds
    ended, open_until_then = os.pipe()
    with _in_memory() as given, _in_memory() as told, os.fdopen(ended, "rb") as end:
        given.write(f"{token}\n{program}".encode("utf-8", "surrogatepass"))
        given.seek(0)
        process = subprocess.Popen(
            ["/bin/sh", "-c", FIRST_TO_GO, "sh", *way(limits, open_until_then)],
            stdin=given,
            stdout=told,
            stderr=told,
            pass_fds=[open_until_then],
            cwd="/",
            env=ENVIRONMENT,
            start_new_session=True,
        )
        os.close(open_until_then)
        try:
            select.select([end], [], [], limits.seconds)  # wakes at once, unlike wait alone
            code = process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            end.read()  # until nothing in the sandbox is left
        told.seek(0)
        text = told.read(4096).decode(errors="replace")
    before, begun, verdict = text.partition(f"{token} begun\n")
    if not begun:
        raise NotStartedError((before.strip().splitlines() or [f"ended with {code}"])[-1])
    if code is None or code == 128 + signal.SIGXCPU:
        return Outcome(False, "timed out")
    if code == 0 and verdict.startswith(f"{token} "):
        result = verdict.removeprefix(f"{token} ")
        return Outcome(result == "passed", result)
    return Outcome(False, f"failed: ended by itself or was killed, code {code}")


def _in_memory() -> BinaryIO:
    return os.fdopen(os.memfd_create("sandbox"), "w+b")
