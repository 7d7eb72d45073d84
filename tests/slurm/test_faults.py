"""What fails on a cluster is tried again with more, and loses nothing that was measured."""

import time

from .conftest import HELD, RULE


def test_a_cancelled_job_is_tried_again_and_measures_only_what_is_missing(site):
    run = site.submit(HELD)
    first = site.wait_until_held()
    before = {file: file.stat().st_mtime_ns for file in site.kept()}
    site.cluster.cancel(first)
    second = site.wait_for(RULE, "RUNNING", count=2)
    site.release()
    said = run.finish()
    assert f"SLURM jobid {first.id}" in said
    assert (second.memory_mb, second.minutes) == (2 * first.memory_mb, 2 * first.minutes)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert site.recalled() == len(before) == 1
    assert len(site.kept()) == 4, "two tasks of base and of post"


def test_a_job_out_of_memory_is_tried_again_with_more(site):
    (site.folder / "take_mb").write_text("3500")
    run = site.submit(HELD)
    first = site.wait_for(RULE, "FAILED")
    assert first.memory_mb < 3500 < 2 * first.memory_mb
    second = site.wait_for(RULE, "RUNNING", count=2)
    assert second.memory_mb == 2 * first.memory_mb
    site.cluster.wait(lambda: site.recalled() == 1, "the second attempt")
    time.sleep(3)  # its memory is looked at every second
    assert site.jobs(RULE)[-1].state == "RUNNING"
    site.release()
    run.finish()


def test_a_job_out_of_time_is_tried_again_with_more(site):
    run = site.submit(HELD)
    first = site.wait_until_held()
    site.cluster.control("update", f"JobId={first.id}", "TimeLimit=1")
    site.wait_for(RULE, "TIMEOUT")
    second = site.wait_for(RULE, "RUNNING", count=2)
    assert second.minutes == 2 * first.minutes
    site.release()
    run.finish()


def test_a_failing_job_says_why_and_leaves_no_output(site):
    site.release()
    documents = site.folder / "workflow/tasks/hold/hold.py"
    documents.write_text(documents.read_text().replace('"gold": 0', '"gold": 1 / 0'))
    run = site.submit(HELD, "--retries", "1")
    assert run.process.wait(300) == 1
    assert "error: ZeroDivisionError: division by zero" in site.output()
    assert not (site.folder / HELD).exists()
    assert len(list((site.folder / "logs/slurm/rule_evaluate_variants").rglob("*.log"))) == 2
    assert len(site.kept()) == 1, "what was measured before stays"


def test_a_job_that_slurm_requeues_measures_only_what_is_missing(site):
    run = site.submit(HELD)
    job = site.wait_until_held()
    site.cluster.control("requeue", str(job.id))  # as a preemption does
    site.wait_for(RULE, "PENDING")
    # Slurm lets it wait for two minutes.
    now = ("update", f"JobId={job.id}", "StartTime=now")
    site.cluster.wait(lambda: site.cluster.control(*now) == "", "a new start")
    site.cluster.wait(lambda: site.recalled() == 1, "the second start")
    site.release()
    run.finish()
    assert [(each.id, each.state) for each in site.jobs(RULE)] == [(job.id, "COMPLETED")]
