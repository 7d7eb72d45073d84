"""Jobs ask Slurm for what they need, and get it."""

RULE = "evaluate_variants"
ENDS = "results/tiny/eval/ends/all/hold.json"
SLICES = [f"results/tiny/eval/dare/drop_rate={p}/hold.json" for p in (0.1, 0.5)]


def test_gpu_jobs_run_where_gpus_are_and_others_beside_them(site):
    run = site.submit(ENDS, *SLICES)
    jobs = site.cluster.wait(lambda: len(site.cluster.jobs(RULE)) == 3, f"jobs; {site.output()}")
    site.cluster.wait(
        lambda: (
            sorted(job.state for job in site.cluster.jobs(RULE))
            == ["PENDING", "RUNNING", "RUNNING"]
        ),
        "two GPUs for three jobs",
    )
    site.release()
    run.finish()
    jobs = site.cluster.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    assert {(job.gpus, job.node) for job in jobs if job.rule == RULE} == {(1, "node-gpu")}
    assert {job.gpus for job in jobs if job.rule != RULE} == {0}
    assert {job.rule for job in jobs} == {RULE, "extract_delta", "edit_delta"}


def test_the_command_line_overrides_one_resource_and_leaves_the_others(site):
    site.release()
    site.submit(ENDS, "--set-resources", f"{RULE}:mem_mb=4321").finish()
    [job] = site.cluster.jobs(RULE)
    assert (job.memory_mb, job.gpus, job.node) == (4321, 1, "node-gpu")
    assert job.minutes > 20


def test_a_cluster_without_gpus_is_asked_for_none(site):
    site.release()
    site.submit(ENDS, "--default-resources", "gpu_mb=0").finish()
    [job] = site.cluster.jobs(RULE)
    assert job.gpus == 0


def test_a_model_larger_than_a_gpu_gets_several(site):
    site.release()
    site.submit(ENDS, "--default-resources", "gpu_mb=4000").finish()
    [job] = site.cluster.jobs(RULE)
    assert job.gpus == 2, "for 6 GB"
