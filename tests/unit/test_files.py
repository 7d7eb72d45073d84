"""Outputs are whole or absent."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deltaedit import files


def test_a_file_appears_when_the_block_ends(tmp_path):
    with files.whole_file(tmp_path / "out") as path:
        path.write_text("text")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out").read_text() == "text"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_a_folder_replaces_what_stood_there(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with files.whole_folder(tmp_path / "out") as path:
        (path / "new").touch()
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["new"]


@pytest.mark.parametrize("whole", [files.whole_file, files.whole_folder])
def test_a_failure_leaves_nothing(tmp_path, whole):
    with pytest.raises(RuntimeError), whole(tmp_path / "out") as path:
        if not path.exists():
            path.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_no_output_and_the_next_run_cleans_up(tmp_path):
    code = (
        "import sys, time; from deltaedit import files\n"
        "with files.whole_folder(sys.argv[1]) as path:\n"
        "    (path / 'half').touch(); print('ready', flush=True); time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(files.__file__).parents[1])}
    job = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        env=environment,
    )
    with job:
        assert job.stdout.readline() == b"ready\n"
        job.send_signal(signal.SIGKILL)
    assert not (tmp_path / "out").exists()
    with files.whole_folder(tmp_path / "out") as path:
        (path / "whole").touch()
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")] == ["out", "out/whole"]


def test_json_without_nan(tmp_path):
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "x.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []
