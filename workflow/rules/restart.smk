from deltaedit import slurm
from deltaedit.errors import UserError

# Jobs that a killed run left on a cluster end before anything is planned: what they make is then
# there, and not made twice.
if workflow.is_main_process and not workflow.output_settings.dryrun:
    try:
        slurm.wait_for_earlier(Path.cwd())
    except UserError as error:
        raise SystemExit(f"error: {error}") from None


# Snakemake notes what an output was made from when its job ends, if the run is still there then.
# On a cluster the job may outlive the run, so it is noted before: only of what is not there yet,
# so that an older output never passes for a new one.
onstart:
    if not workflow.local_exec:
        for job in workflow.dag.needrun_jobs():
            if not any(map(os.path.lexists, job.output)):
                workflow.async_run(workflow.persistence.finished(job))
