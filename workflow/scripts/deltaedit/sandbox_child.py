"""The first processes of a sandbox: a program that `sandbox` starts, once for each program it runs.

    sandbox_child.py PACKAGES PIPE CPU_SECONDS MEMORY PROCESSES FILE [FILES VISIBLE...]

PIPE is the descriptor of a pipe that nobody but the job reads.
With FILES and VISIBLE it makes the sandbox; without them it is in one that bubblewrap made. Then it
sets the limits, reads a token and a program from standard input, and says on standard output,
marked by the token, that the program begins and how it ended. It uses the standard library alone
and imports little of it: starting it is most of what a short program costs.
"""

# To import pathlib takes as long as to start Python.
# ruff: noqa: PTH102, PTH103, PTH106, PTH112, PTH114, PTH115, PTH120, PTH123, PTH211

import os
import resource
import select
import sys
from collections.abc import Callable, Sequence
from signal import SIGKILL

NOBODY = 65534
OPEN_FILES = 64

# From sched.h, sys/mount.h, sys/prctl.h and linux/capability.h.
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC = 1 << 10, 1 << 11, 1 << 12, 1 << 14
MS_PRIVATE, MS_RELATIME = 1 << 18, 1 << 21
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
CAPABILITY_VERSION_3 = 0x20080522

# Options of a mount that must be given again where a user namespace makes it read-only.
MOUNT_OPTIONS = {
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": MS_NOEXEC,
    "noatime": MS_NOATIME,
    "nodiratime": MS_NODIRATIME,
    "relatime": MS_RELATIME,
}


def enter(pipe: int, files: int, visible: Sequence[str]) -> None:
    """Return as the user nobody in a sandbox, in a process with which all others there end.

    Args:
        pipe: which the job reads.
        files: bytes that fit into its /tmp, the only place to write to.
        visible: paths that are shown, read-only; none holds another.
    """
    isolate()
    call("prctl", PR_SET_PDEATHSIG, SIGKILL)  # a change of rights would undo it
    require_job(pipe)
    end_as(os.fork(), lambda: os.waitpid(-1, 0))
    # Process 1 of the sandbox: when it ends, the kernel ends all others.
    call("prctl", PR_SET_PDEATHSIG, SIGKILL)
    require_job(pipe)
    build_root(files, visible)
    end_as(os.fork(), os.wait)
    os.setsid()
    become_nobody()


def require_job(pipe: int) -> None:
    """End if the job is dead already, of which the kernel says nothing: nobody reads its pipe."""
    errors = select.poll()
    errors.register(pipe, 0)
    if errors.poll(0):
        sys.exit("the job is dead")


def isolate() -> None:
    """Take on new namespaces, in which no process can make more of them."""
    process, user, group = os.getpid(), os.geteuid(), os.getegid()
    unshared, say = os.pipe()
    # Which users a namespace has is for a process outside to say, if it is more than one.
    helper = os.fork()
    if helper == 0:
        os.close(say)
        if os.read(unshared, 1):
            name_users(process, user, group)
        os._exit(0)
    call(
        "unshare",
        CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS,
    )
    os.write(say, b".")
    if os.waitpid(helper, 0)[1] != 0:
        sys.exit(1)  # the helper said why
    write("/proc/sys/user/max_user_namespaces", "0")


def name_users(process: int, user: int, group: int) -> None:
    """Call the caller nobody in a process's namespace; or root, beside the machine's nobody.

    A limit of processes does not bind root, whatever its name in the namespace.
    """
    place = f"/proc/{process}"
    if user != 0:
        write(f"{place}/setgroups", "deny")
    for file, number in (("uid_map", user), ("gid_map", group)):
        alone = f"{NOBODY} {number} 1"
        write(f"{place}/{file}", alone if user else f"0 {number} 1\n{NOBODY} {NOBODY} 1")


def build_root(files: int, visible: Sequence[str]) -> None:
    """Put a new root in the place of the machine's, which disappears."""
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    options = MS_NOSUID | MS_NODEV
    mount("tmpfs", "/tmp", "tmpfs", options, "size=1m,mode=755")
    os.chdir("/tmp")
    os.mkdir("machine")
    call("pivot_root", b".", b"machine")
    os.mkdir("/tmp")
    mount("tmpfs", "/tmp", "tmpfs", options, f"size={files},mode=1777")
    for path in visible:
        show(path)
    # A bind mount brings what is mounted below; each is made read-only by itself.
    for line in read("/machine/proc/self/mountinfo").splitlines():
        place, stated = line.split(" ")[4:6]
        place = place.encode().decode("unicode_escape").encode("latin-1").decode()  # "\\040"
        if place.startswith(tuple(visible)):
            kept = sum(MOUNT_OPTIONS.get(option, 0) for option in stated.split(","))
            mount("none", place, "", MS_REMOUNT | MS_BIND | MS_RDONLY | kept)
    call("umount2", b"/machine", MNT_DETACH)
    os.rmdir("/machine")
    mount("none", "/", "", MS_REMOUNT | MS_BIND | MS_RDONLY | options)
    os.chdir("/tmp")


def show(path: str) -> None:
    """Make a path of the machine's appear in the new root."""
    source = f"/machine{path}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.islink(source):
        os.symlink(os.readlink(source), path)
        return
    if os.path.isdir(source):
        os.mkdir(path)
    else:
        write(path, "")
    mount(source, path, "", MS_BIND | MS_REC)


def become_nobody() -> None:
    """Give up every right, for good."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call("capset", words(CAPABILITY_VERSION_3, 0), words(*[0] * 6))


def end_as(child: int, wait: Callable[[], tuple[int, int]]) -> None:
    """Return in the child; in its parent wait for it, reap others, and end as it did."""
    while child:
        process, status = wait()
        if process == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def limit(cpu_seconds: int, memory: int, processes: int, file: int) -> None:
    """Limit what this process and those that it starts may use, see `sandbox.Limits`."""
    for name, *values in (
        ("CPU", cpu_seconds, cpu_seconds + 1),  # SIGXCPU, then SIGKILL for who ignores it
        ("AS", memory, memory),
        ("NPROC", processes, processes),
        ("FSIZE", file, file),
        ("NOFILE", OPEN_FILES, OPEN_FILES),
        ("CORE", 0, 0),
        ("MSGQUEUE", 0, 0),
    ):
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), tuple(values))


def execute(packages: Sequence[str]) -> None:
    """Run the program of standard input and end the process, having said how it went."""
    with open(0, "rb", closefd=False) as given:
        token, _, program = given.read().decode("utf-8", "surrogatepass").partition("\n")
    told = os.dup(1)
    for stream, mode in enumerate((os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)):
        os.dup2(os.open("/dev/null", mode), stream)
    sys.path += packages
    sys.argv = [""]
    os.write(told, f"{token} begun\n".encode())
    process = os.getpid()
    try:
        exec(program, {})
        result = "passed"
    except BaseException as error:  # an early exit, too, comes before the tests' end
        result = f"failed: {type(error).__name__}: {error}".splitlines()[0][:200].rstrip(": ")
    if os.getpid() == process:  # not what the program forked
        os.write(told, f"{token} {result}".encode(errors="replace"))
    os._exit(0)


def call(name: str, *args: int | bytes | None) -> None:
    """Call a function of the C library; raise OSError if it fails."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*args) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    try:
        texts = [text.encode() for text in (source, target, kind)]
        call("mount", *texts, flags, data.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"mount {target}") from None


def words(*values: int) -> bytes:
    """Return 32-bit numbers as C has them in memory."""
    return b"".join(value.to_bytes(4, sys.byteorder) for value in values)


def read(path: str) -> str:
    with open(path) as stream:
        return stream.read()


def write(path: str, text: str) -> None:
    with open(path, "w") as stream:
        stream.write(text)


def main(packages: str, pipe: str, *values: str) -> None:
    *limits, files = map(int, values[:5]) if len(values) > 4 else (*map(int, values), None)
    if files is not None:
        enter(int(pipe), files, values[5:])
    require_job(int(pipe))
    limit(*limits)
    execute(packages.split(os.pathsep))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"{error.strerror}: {error.filename}")
