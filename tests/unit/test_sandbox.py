"""What a program does in the sandbox harms neither the machine nor other programs."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from deltaedit import sandbox

from ..sandbox import NEEDS_SANDBOX

NOBODY = 65534
LIBRARY = Path(sandbox.__file__).parent
GOOD = "import json, math\nassert json.loads('[1, 2]')[1] == math.sqrt(4)"
# As many at once as a job would run, so that the good ones run beside the hostile.
RUN = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from deltaedit import sandbox
given = json.load(sys.stdin)
way, limits = getattr(sandbox, given["way"]), sandbox.Limits(**given["limits"])
with ThreadPoolExecutor(4) as pool:
    for done in pool.map(lambda program: sandbox.run_by(way, program, limits), given["programs"]):
        print(json.dumps([done.passed, done.result]))
"""


pytestmark = NEEDS_SANDBOX


def cases():
    """The ways to start a sandbox here: this user's, and if that is root an ordinary one's too."""
    found = [(None, way.__name__) for way in sandbox.ways()]
    if os.geteuid() == 0:
        found += [(NOBODY, "namespaces"), (NOBODY, "bubblewrap")]
    return found


@pytest.fixture(scope="module", params=cases(), ids=lambda case: f"{case[0] or 'self'}-{case[1]}")
def run(request):
    """Return a function that runs programs in sandboxes of one user, started in one way."""
    user, way = request.param
    if way == "bubblewrap" and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    python, identity = sys.executable, {}
    if user is not None:
        identity = {"user": user, "group": user, "extra_groups": []}
        python = next(filter(lambda path: runs(path, identity), (python, "/usr/bin/python3")), None)
        if python is None:
            pytest.skip(f"no Python 3.11 that user {user} can start")
    # Another user can perhaps not read the project, nor pytest's folders.
    with tempfile.TemporaryDirectory() as name:
        library = Path(name)
        packages = library / "site-packages"
        for folder, mode in ((library, 0o755), (library / "deltaedit", 0o755), (packages, 0o777)):
            folder.mkdir(exist_ok=True)
            folder.chmod(mode)
        for module in ("__init__", "errors", "sandbox", "sandbox_child"):
            shutil.copy(LIBRARY / f"{module}.py", library / "deltaedit")

        def programs(*programs, **limits):
            limits = {"cpu_seconds": 1, "seconds": 5} | limits
            done = subprocess.run(
                [python, "-c", RUN],
                input=json.dumps({"way": way, "limits": limits, "programs": programs}),
                env=os.environ | {"PYTHONPATH": f"{library}:{packages}", "SECRET": "a token"},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                **identity,
            )
            return [tuple(json.loads(line)) for line in done.stdout.splitlines()]

        programs.packages = packages
        yield programs


def runs(python, identity) -> bool:
    code = "import sys; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([python, "-c", code], **identity).returncode == 0
    except OSError:
        return False


HOSTILE = {
    "an endless loop": ("while True: pass", "timed out"),
    "a stubborn endless loop": (
        """
import signal
signal.signal(signal.SIGXCPU, signal.SIG_IGN)
while True:
    try:
        while True: pass
    except BaseException: pass
""",
        "",
    ),
    "a long sleep": ("import time; time.sleep(1000)", "timed out"),
    "a fork bomb": (
        """
import os
while True:
    try: os.fork()
    except OSError: pass
""",
        "timed out",
    ),
    "a hundred processes": (
        "import os, time\nfor _ in range(100):\n    if os.fork() == 0: time.sleep(9)",
        "temporarily unavailable",
    ),
    "a bomb of threads": (
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=[9]).start()",
        "can't start new thread",
    ),
    "an allocation of 100 GB": ("x = bytearray(100 << 30)", "MemoryError"),
    "an allocation of 3 GB": ("x = bytearray(3 << 30)", "MemoryError"),
    "a file of 10 GB": (
        "with open('/tmp/x', 'wb') as f:\n    for _ in range(10240): f.write(bytes(1 << 20))",
        "File too large",
    ),
    "many files": (
        "for i in range(10240):\n    with open(f'/tmp/{i}', 'wb') as f: f.write(bytes(1 << 20))",
        "No space left",
    ),
    "endless output": ("while True: print('x' * 10000)", "timed out"),
    "the end of all processes": ("import os; os.kill(-1, 9); os.abort()", ""),
    "the end of its group": ("import os; os.killpg(0, 9)", "code 137"),
    "the end of its parent": ("import os; os.kill(os.getppid(), 9); os.abort()", ""),
    "to be root": ("import os; os.setuid(0)", "Error: [Errno"),
    "a namespace": (
        "import ctypes, os\nc = ctypes.CDLL(None, use_errno=True)\n"
        "assert c.unshare(0x10000000) == 0, os.strerror(ctypes.get_errno())",
        "AssertionError: No space left",  # of namespaces: none are allowed
    ),
    "a mount": (
        "import ctypes, os\nc = ctypes.CDLL(None, use_errno=True)\n"
        "assert c.umount2(b'/usr', 2) == 0, os.strerror(ctypes.get_errno())",
        "AssertionError: Operation not permitted",
    ),
}


def test_what_a_program_does_fails_that_program_and_no_other(run):
    programs = [program for program, _ in HOSTILE.values()]
    found = run(*(p for program in programs for p in (program, GOOD)))
    assert found[1::2] == [(True, "passed")] * len(HOSTILE)
    for (name, (_, words)), (passed, result) in zip(HOSTILE.items(), found[::2], strict=True):
        assert not passed, name
        assert words in result, name


def test_an_end_before_the_tests_end_is_no_pass(run):
    ends = (
        "import sys; sys.exit(0)",
        "raise SystemExit",
        "quit()",
        "import os; os._exit(0)",
        "import os\nfor i in range(3, 64):\n    try: os.write(i, b'passed')\n"
        "    except OSError: pass\nos._exit(0)",
        "import os\nif os.fork(): os._exit(0)",
        "import threading, time\nthreading.Thread(target=time.sleep, args=[1000]).start()\n1 / 0",
    )
    found = run(*(f"{end}\nassert 1 == 1" for end in ends))
    assert not any(passed for passed, _ in found), found


@pytest.mark.parametrize("folder", ["/", "/usr", "/root", "/var/tmp", "/dev", "{here}"])
def test_nothing_is_written_outside(run, folder, tmp_path):
    file = Path(folder.format(here=Path.cwd()), f"{tmp_path.name}-{os.getpid()}")
    [(passed, result)] = run(f"open({str(file)!r}, 'w').write('x')")
    assert not passed
    assert any(words in result for words in ("Read-only", "No such file", "Permission denied"))
    assert not file.exists()


def test_what_its_user_may_write_to_is_read_only(run):
    file = run.packages / "x"
    [(passed, result)] = run(
        f"assert {str(run.packages)!r} in __import__('sys').path\nopen({str(file)!r}, 'w')"
    )
    assert not passed
    assert "Read-only file system" in result
    assert not file.exists()


def test_a_program_has_a_folder_of_its_own(run):
    write = "import os\nassert not os.path.exists('x')\nopen('x', 'w').write('x')"
    read = "assert open('/tmp/x').read() == 'x'"
    assert all(passed for passed, _ in run(f"{write}\n{read}", f"{write}\n{read}"))


def test_no_socket_leads_out(run):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        places = [("127.0.0.1", port), ("1.1.1.1", 53)]
        found = run(*(f"import socket; socket.create_connection({place}, 5)" for place in places))
    for passed, result in found:
        assert not passed
        assert "unreachable" in result or "refused" in result


def test_a_program_sees_nothing_of_its_user_s(run):
    hidden = ["/etc/passwd", "/etc/shadow", "/proc", "/home", "/var", f"{Path.cwd() / 'README.md'}"]
    [(passed, result)] = run(
        f"""
import os, sys
assert os.getuid() == os.getgid() == {NOBODY}
assert "SECRET" not in os.environ and "PYTHONPATH" not in os.environ, os.environ
assert not [path for path in {hidden} if os.path.exists(path)]
assert not any(os.access(path, os.W_OK) for path in ("/", "/usr", *sys.path))
assert sys.stdin.read() == ""
"""
    )
    assert passed, result


def test_nothing_is_left_of_a_program(run):
    daemon = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
    daemon += "        os.closerange(0, 64)\n        time.sleep(1000)\n"
    memory = (1 << 30) + os.getpid()  # by which these sandboxes are known
    found = run(daemon, f"{daemon}time.sleep(1000)", memory=memory, seconds=2)
    assert found == [(True, "passed"), (False, "timed out")]
    assert running(memory) == []


def test_nothing_is_left_when_the_job_is_killed():
    memory = (1 << 30) + 2 * os.getpid()
    sleep = (
        f"sandbox.run('import time; time.sleep(99)', sandbox.Limits(memory={memory}, seconds=99))"
    )
    job = subprocess.Popen(
        [sys.executable, "-c", f"from deltaedit import sandbox; {sleep}"],
        env=os.environ | {"PYTHONPATH": str(LIBRARY.parent)},
    )
    wait_for(lambda: running(memory))
    job.kill()
    job.wait()
    wait_for(lambda: not running(memory))


@pytest.mark.parametrize("way", sandbox.ways())
def test_a_sandbox_whose_job_died_before_it_was_there_does_not_begin(way):
    """The kernel ends it with its job only from the moment on at which it has asked for that."""
    read, write = os.pipe()
    os.close(read)  # as the job's death does
    given = b"token\nimport time; time.sleep(99)"
    command = way(sandbox.DEFAULT, write)
    done = subprocess.run(command, input=given, pass_fds=[write], capture_output=True, timeout=30)
    os.close(write)
    assert (done.stdout, done.stderr) == (b"", b"the job is dead\n")


def running(memory):
    """The command lines of processes that belong to sandboxes of that much memory."""
    every = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [command for command in every if f"{memory}" in command]


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_is_installed_can_be_imported():
    assert sandbox.run("import numpy as np\nassert np.linalg.inv(np.eye(2))[0, 0] == 1").passed


def test_the_order_of_a_set_is_always_the_same():
    program = "raise ValueError(set('abcdefgh'))"
    assert len({sandbox.run(program).result for _ in range(3)}) == 1


def test_a_machine_without_sandbox_is_told_so():
    # As root of a namespace in which no further one may be made.
    switch_off = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    done = subprocess.run(
        [
            *["unshare", "--user", "--map-root-user", "sh", "-c", switch_off, "sh", sys.executable],
            *["-c", "from deltaedit import sandbox; sandbox.run('pass')"],
        ],
        env={"PYTHONPATH": str(LIBRARY.parent), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    [*_, last] = done.stderr.splitlines()
    assert "model-written code has no sandbox on this machine: namespaces: " in last
    assert "unshare" in last
