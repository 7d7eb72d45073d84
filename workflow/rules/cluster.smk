import asyncio

import snakemake_executor_plugin_slurm as slurm_plugin

from deltaedit import slurm
from deltaedit.errors import UserError


def say(line):
    """Tell the user something on the terminal."""
    print(line, file=sys.stderr, flush=True)


# --- a run that was killed ------------------------------------------------------------------

# Its jobs go on, and end before anything is planned: what they make is then there, and not made
# twice.
if workflow.is_main_process and not workflow.output_settings.dryrun:
    try:
        slurm.wait_for_earlier(Path.cwd(), say)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None


# --- before the first job -------------------------------------------------------------------


def refuse_open_revisions():
    """End the run if the config leaves the revision of something it downloads open."""
    folders = {"download_data": "datasets/", "download_images": "datasets/"}
    left = [
        (job.params.key, folders.get(job.rule.name, ""), job.params.source["repo"])
        for job in workflow.dag.needrun_jobs()
        if job.rule.name.startswith("download_")
        and job.params.source.get("revision", "") is None
    ]
    if left:
        from deltaedit import hub  # slow to import, and a cluster's job does without

        try:
            hub.refuse_open(left)
        except UserError as error:
            raise SystemExit(f"error: {error}") from None


# Snakemake notes what an output was made from when its job ends, if the run is still there then.
# On a cluster the job may outlive the run, so it is noted before: only of what is not there yet,
# so that an older output never passes for a new one.
onstart:
    refuse_open_revisions()
    if not workflow.local_exec:
        slurm.note_submissions(Path.cwd())
        for job in workflow.dag.needrun_jobs():
            if not any(map(os.path.lexists, job.output)):
                workflow.async_run(workflow.persistence.finished(job))


# --- a Slurm that does not answer -----------------------------------------------------------

# The plugin 2.8 forgets all its jobs when it asks for their states five times in vain, and waits
# for ever; and it takes sacct for good where scontrol does not answer. While slurmctld restarts,
# here, it asks again, by what it knew.
query, min_job_age = slurm_plugin.query_job_status, slurm_plugin.get_min_job_age
known_min_job_age = None


async def query_until_answered(command, logger):
    """The states of all jobs, as soon as Slurm tells them."""
    said = False
    while (found := await query(command, logger)) == (None, None):
        if not said:
            say(f"Slurm does not answer; asking again: {command}")
            said = True
        await asyncio.sleep(slurm.INTERVAL)
    return found


def last_min_job_age():
    """How long Slurm remembers ended jobs, or did when it last answered."""
    global known_min_job_age
    known_min_job_age = min_job_age() or known_min_job_age
    return known_min_job_age


slurm_plugin.query_job_status = query_until_answered
slurm_plugin.get_min_job_age = last_min_job_age
