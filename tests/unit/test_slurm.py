"""A new run waits for the jobs of an earlier one, and asks Slurm only where there may be some."""

import pytest

from deltaedit import slurm
from deltaedit.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """A working folder in which an earlier run with Slurm left an unfinished output."""
    mark = tmp_path / "work/.snakemake/incomplete/cmVzdWx0cw=="
    mark.parent.mkdir(parents=True)
    mark.write_text('{"external_jobid": null}')
    slurm.note_submissions(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """Return a function that puts a squeue on the path, which does what a shell script says."""

    def install(script):
        program = tmp_path / "bin/squeue"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent), prepend=":")

    monkeypatch.setattr(slurm, "INTERVAL", 0.01)
    return install


def wait(folder):
    said = []
    slurm.wait_for_earlier(folder, said.append)
    return said


def test_it_waits_until_the_jobs_have_left_the_queue(folder, squeue, tmp_path):
    left = tmp_path / "left"
    left.write_text(f"7|rule_edit_delta_wildcards_tiny|{folder}\n8|rule_x|{folder}\n")
    # Two looks show both jobs, a third none.
    squeue(f"cat {left}; [ -e {left}.2 ] && : > {left}; : > {left}.2")
    [line] = wait(folder)
    assert "7 (rule_edit_delta_wildcards_tiny), 8 (rule_x)" in line
    assert line.endswith("scancel 7 8")
    assert left.read_text() == "", "it went on only then"


def test_jobs_of_other_folders_and_other_programs_are_not_waited_for(folder, squeue):
    squeue(f"echo '7|rule_x|{folder.parent}'; echo '8|my job|{folder}'")
    assert wait(folder) == []


def test_a_queue_that_does_not_answer_is_an_error(folder, squeue):
    squeue("echo 'Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(UserError, match=r"Slurm does not answer: Unable to contact"):
        wait(folder)


def test_a_machine_without_squeue_is_an_error(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="here is no squeue"):
        wait(folder)


@pytest.mark.parametrize(
    "state",
    ["nothing unfinished", "it ran here", "the queue was empty once", "a run that holds the lock"],
)
def test_slurm_is_not_asked_without_need(folder, squeue, state):
    if state == "the queue was empty once":
        squeue("exit 0")
        wait(folder)
    squeue("exit 1")
    if state == "nothing unfinished":
        next((folder / ".snakemake/incomplete").iterdir()).unlink()
    elif state == "it ran here":
        (folder / ".snakemake" / slurm.NOTE).unlink()
    elif state == "a run that holds the lock":
        (folder / ".snakemake/locks").mkdir()
        (folder / ".snakemake/locks/0.input.lock").touch()
    assert wait(folder) == []
