"""A job's words go to its log; its progress and its last word also to the terminal."""

import os
import subprocess
import sys
from pathlib import Path

import deltaedit


def run(tmp_path, body):
    log = tmp_path / "job.log"
    code = f"from deltaedit import logs\nlogs.to_file({str(log)!r})\n{body}"
    environment = os.environ | {"PYTHONPATH": str(Path(deltaedit.__file__).parents[1])}
    job = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    return job, log.read_text()


def test_prints_and_child_processes_go_to_the_log(tmp_path):
    job, log = run(tmp_path, "import os; print('one', flush=True); os.system('echo two')")
    assert job.returncode == 0
    assert log == "one\ntwo\n"
    assert job.stdout == job.stderr == ""


def test_progress_reaches_the_terminal_line_by_line(tmp_path):
    job, _ = run(tmp_path, "list(logs.progress(range(3), 'count'))")
    lines = job.stderr.splitlines()
    assert lines[-1].startswith("count: 100%")
    assert "3/3" in lines[-1]
    assert "\r" not in job.stderr


def test_a_user_s_mistake_is_one_line_without_traceback(tmp_path):
    body = "from deltaedit.errors import UserError\nraise UserError('this is wrong')"
    job, log = run(tmp_path, body)
    assert job.returncode == 1
    assert job.stderr == log == "error: this is wrong\n"


def test_any_other_failure_is_traced_in_the_log_and_named_on_the_terminal(tmp_path):
    job, log = run(tmp_path, "raise KeyError('lost')")
    assert job.stderr == "error: KeyError: 'lost'\n"
    assert "Traceback" in log
