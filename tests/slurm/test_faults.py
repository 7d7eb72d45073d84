"""What goes wrong on a cluster loses nothing, and does nothing twice."""

import time

HELD = "results/tiny/eval/ends/all/hold.json"
RULE = "evaluate_variants"


def kept(site):
    """The measurements that are there already."""
    return sorted((site.folder / "results/tiny/kept").glob("*.json"))


def wait_until_held(site):
    """Wait until the job has measured the first of its tasks and waits in the second."""
    job = site.wait_for(RULE, "RUNNING")
    site.cluster.wait(lambda: kept(site), f"a measurement; {site.output()[-3000:]}")
    return job


def recalled(site):
    log = site.folder / "logs/evaluate_variants/tiny/ends/all/hold.log"
    return log.read_text().count("recalled")


def test_a_cancelled_job_is_tried_again_and_measures_only_what_is_missing(site):
    run = site.submit(HELD)
    first = wait_until_held(site)
    before = {file: file.stat().st_mtime_ns for file in kept(site)}
    site.cluster.cancel(first)
    second = site.wait_for(RULE, "RUNNING", count=2)
    site.release()
    said = run.finish()
    assert f"SLURM jobid {first.id}" in said
    assert (second.memory_mb, second.minutes) == (2 * first.memory_mb, 2 * first.minutes)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert recalled(site) == len(before) == 1
    assert len(kept(site)) == 4, "two tasks of base and of post"


def test_a_job_out_of_memory_is_tried_again_with_more(site):
    (site.folder / "take_mb").write_text("3500")
    run = site.submit(HELD)
    first = site.wait_for(RULE, "FAILED")
    assert first.memory_mb < 3500 < 2 * first.memory_mb
    second = site.wait_for(RULE, "RUNNING", count=2)
    assert second.memory_mb == 2 * first.memory_mb
    site.cluster.wait(lambda: recalled(site) == 1, "the second attempt")
    time.sleep(3)  # its memory is looked at every second
    assert site.jobs(RULE)[-1].state == "RUNNING"
    site.release()
    run.finish()


def test_a_job_out_of_time_is_tried_again_with_more(site):
    run = site.submit(HELD)
    first = wait_until_held(site)
    site.cluster.control("update", f"JobId={first.id}", "TimeLimit=1")
    site.wait_for(RULE, "TIMEOUT")
    second = site.wait_for(RULE, "RUNNING", count=2)
    assert second.minutes == 2 * first.minutes
    site.release()
    run.finish()


def test_a_restart_of_slurmctld_is_survived(site):
    run = site.submit(HELD)
    job = wait_until_held(site)
    site.cluster.stop_daemon("slurmctld")
    time.sleep(20)  # longer than between two looks at the queue
    assert run.process.poll() is None, "it goes on without an answer"
    site.cluster.start_slurmctld()
    site.release()
    run.finish()
    assert [each.id for each in site.jobs(RULE)] == [job.id]


def test_a_killed_run_submits_no_job_twice(site, tiny_config):
    targets = (HELD, "results/tiny/delta")
    run = site.submit(*targets)
    wait_until_held(site)
    site.wait_for("extract_delta", "COMPLETED")
    site.cluster.wait(lambda: "Finished jobid" in site.output(), "what has ended is noticed")
    run.kill()
    site.project.snakemake("--unlock")
    again = site.submit(*targets)
    site.cluster.wait(lambda: "waiting for Slurm jobs of an earlier run" in site.output(), "wait")
    time.sleep(3)
    assert again.process.poll() is None
    site.release()
    again.finish()
    assert [job.state for job in site.jobs()] == ["COMPLETED"] * 2, "one of each rule"
    # What the job outlived its run with is known all the same: a change is noticed.
    assert not site.project.planned(*targets)
    config = (site.folder / "config.yaml").read_text()
    (site.folder / "config.yaml").write_text(config.replace("limit: 4", "limit: 3"))
    assert site.project.planned(*targets) == {RULE: [HELD]}


def test_a_killed_run_whose_jobs_have_ended_goes_on_at_once(site):
    run = site.submit(HELD)
    wait_until_held(site)
    run.kill()
    site.release()
    site.wait_for(RULE, "COMPLETED")
    site.project.snakemake("--unlock")
    said = site.submit(HELD).finish()
    assert "Nothing to be done" in said
    assert "waiting" not in said
    assert len(site.jobs(RULE)) == 1


def test_a_drained_node_is_waited_for(site):
    site.release()
    site.cluster.control("update", "NodeName=node-gpu", "State=DRAIN", "Reason=test")
    try:
        run = site.submit(HELD)
        site.wait_for(RULE, "PENDING")
        time.sleep(10)
        assert site.wait_for(RULE, "PENDING"), "no other node has GPUs"
        assert run.process.poll() is None
    finally:
        site.cluster.control("update", "NodeName=node-gpu", "State=RESUME")
    run.finish()
    assert [job.state for job in site.jobs(RULE)] == ["COMPLETED"]


def test_a_failing_job_says_why_and_leaves_no_output(site):
    site.release()
    documents = site.folder / "workflow/tasks/hold/hold.py"
    documents.write_text(documents.read_text().replace('"gold": 0', '"gold": 1 / 0'))
    run = site.submit(HELD, "--retries", "1")
    assert run.process.wait(120) == 1
    assert "error: ZeroDivisionError: division by zero" in site.output()
    assert not (site.folder / HELD).exists()
    assert len(list((site.folder / "logs/slurm/rule_evaluate_variants").rglob("*.log"))) == 2
    assert len(kept(site)) == 1, "what was measured before stays"
