"""Jobs ask Slurm for what they need, and get it."""

from .conftest import HELD, RULE

SLICES = [f"results/tiny/eval/dare/drop_rate={p}/hold.json" for p in (0.1, 0.5)]


def test_gpu_jobs_run_where_gpus_are_and_others_beside_them(site):
    run = site.submit(HELD, *SLICES)
    jobs = site.cluster.wait(lambda: len(site.jobs(RULE)) == 3, f"jobs; {site.output()[-3000:]}")
    site.cluster.wait(
        lambda: sorted(job.state for job in site.jobs(RULE)) == ["PENDING", "RUNNING", "RUNNING"],
        "two GPUs for three jobs",
    )
    site.release()
    run.finish()
    jobs = site.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    assert {(job.gpus, job.node) for job in jobs if job.rule == RULE} == {(1, "node-gpu")}
    assert {job.gpus for job in jobs if job.rule != RULE} == {0}
    assert {job.rule for job in jobs} == {RULE, "extract_delta", "edit_delta"}


def test_the_command_line_overrides_one_resource_and_leaves_the_others(site):
    site.release()
    site.submit(HELD, "--set-resources", f"{RULE}:mem_mb=4321").finish()
    [job] = site.jobs(RULE)
    assert (job.memory_mb, job.gpus, job.node) == (4321, 1, "node-gpu")
    assert job.minutes > 20
