"""What stops on a cluster, goes on: the run, Slurm itself, a node."""

import signal
import time

from .conftest import HELD, RULE


def test_a_restart_of_slurmctld_is_survived(site):
    run = site.submit(HELD)
    job = site.wait_until_held()
    site.cluster.stop_daemon("slurmctld")
    site.cluster.wait(lambda: "Slurm does not answer; asking again" in site.output(), "a question")
    assert run.process.poll() is None, "it goes on without an answer"
    site.cluster.start_slurmctld()
    site.release()
    run.finish()
    assert [each.id for each in site.jobs(RULE)] == [job.id]


def test_a_killed_run_submits_no_job_twice(site):
    targets = (HELD, "results/tiny/delta")
    run = site.submit(*targets)
    site.wait_until_held()
    site.wait_for("extract_delta", "COMPLETED")
    site.cluster.wait(lambda: "Finished jobid" in site.output(), "what has ended is noticed")
    run.kill()
    site.project.snakemake("--unlock")
    site.cluster.stop_daemon("slurmctld")
    assert site.submit(*targets).process.wait(60) == 1
    assert "error: an earlier run may have left jobs in Slurm's queue" in site.output()
    site.cluster.start_slurmctld()
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
    site.wait_until_held()
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


def test_an_interrupted_run_cancels_its_jobs_and_starts_again_at_once(site):
    run = site.submit(HELD)
    site.wait_until_held()
    run.process.send_signal(signal.SIGINT)  # as Ctrl-C does
    assert run.process.wait(60) != 0
    site.wait_for(RULE, "CANCELLED")
    site.release()
    site.submit(HELD).finish()
    assert site.recalled() == 1
    assert len(site.jobs(RULE)) == 2
