import os
import sys
from functools import cache
from pathlib import Path

PROJECT = Path(workflow.basedir)
PROBES = 8  # draws of random signs for a curvature
sys.path.insert(0, str(PROJECT / "workflow" / "scripts"))
# torch's threads would otherwise spin while they wait, at the cost of every other job.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from deltaedit import config as configuration
from deltaedit import (
    digest,
    edits,
    figures,
    gguf,
    image_study,
    image_tasks,
    needs,
    study,
    sweeps,
    tables,
    tasks,
)
from deltaedit.errors import UserError

try:
    # A cluster job reads the config again, which the run that submitted it has checked whole.
    configuration.check(
        config, workflow.configfiles, PROJECT, whole=workflow.is_main_process
    )
    if workflow.is_main_process and not workflow.output_settings.dryrun:
        configuration.check_installed(config)
except UserError as error:
    raise SystemExit(f"error: {error}") from None


wildcard_constraints:
    pair="|".join(config["pairs"]),
    end="base|post",
    world="|".join(study.STARTS),
    stage="[^/]+",
    task="|".join(image_tasks.names()),
    split="[^/]+",
    sweep="|".join([study.ENDS, *config["sweeps"]]),
    slice="[^/]+",
    suite="|".join(config["suites"]),
    loss="|".join(config["losses"]),
    figure="|".join(config["figures"]),
    table="|".join(config["tables"]) or study.NOTHING,
    comparison="|".join(config["comparisons"]) or study.NOTHING,
    continued="|".join(config["continued"]) or study.NOTHING,
    gguf="[^/]+",


@cache
def code(script, *modules):
    """Hash of a script and the library modules it uses: Snakemake does not watch imports."""
    return digest.of_code(PROJECT / "workflow" / "scripts" / script, modules)


# --- what a job asks of a cluster ------------------------------------------------------------


def asked(job):
    """The resources of a rule: memory, minutes and GPUs; each attempt asks for more.

    `job` returns the `needs.Needs` of wildcards and input.
    """
    return {
        "mem_mb": lambda wildcards, input, attempt: attempt
        * job(wildcards, input).mem_mb,
        "runtime": lambda wildcards, input, attempt: attempt
        * job(wildcards, input).minutes,
        "gpu": lambda wildcards, input, attempt: job(wildcards, input).gpus(
            attempt, gpu_mb()
        ),
    }


def gpu_mb():
    """The memory of one GPU: what the user's profile says among its default resources."""
    stated = dict(workflow.resource_settings.default_resources or {})
    return stated["gpu_mb"].value if "gpu_mb" in stated else needs.GPU_MB


def training_needs(wildcards, input):
    return needs.training()


def unpacking_needs(wildcards, input):
    return needs.unpacking(sum(Path(file).stat().st_size for file in input))


def continuation_needs(wildcards, input):
    spec = config["continued"][wildcards.continued]
    return needs.continuation(needs.size(input.start), spec)


def edit_threads(wildcards, input):
    """How many threads an edit takes; before the model is there, as many as of a large one."""
    try:
        return needs.threads(needs.size(input.post))
    except FileNotFoundError:
        return 2


def editing_needs(wildcards, input):
    methods = sweeps.methods(config["sweeps"][wildcards.sweep])
    is_whole = any(edits.is_whole(edits.load(method)) for method in methods)
    return needs.editing(needs.size(input.post), count(wildcards), whole=is_whole)


def export_needs(wildcards, input):
    return needs.editing(needs.size(input.post), count(wildcards), whole=True)


def extraction_needs(wildcards, input):
    return needs.editing(needs.size(input.post), 1, whole=False)


def comparison_needs(wildcards, input):
    return needs.editing(needs.size(input.post[0]), len(input.post), whole=False)


def decomposition_needs(wildcards, input):
    return needs.decomposition(needs.size(input.post))


def preparation_needs(wildcards, input):
    return needs.preparation(needs.size(input.base))


def evaluation_needs(wildcards, input):
    suite = config["suites"][wildcards.suite]
    return needs.evaluation(needs.size(input.post), suite, count(wildcards))


def gradient_needs(wildcards, input):
    return needs.gradient(needs.size(input.post), config["losses"][wildcards.loss])


def curvature_needs(wildcards, input):
    loss = config["losses"][wildcards.loss]
    return needs.curvature(needs.size(input.post), loss, PROBES)


def loss_needs(wildcards, input):
    loss = config["losses"][wildcards.loss]
    return needs.loss_change(needs.size(input.post), loss, count(wildcards))


def count(wildcards):
    """How many variants a slice has."""
    return len(variants(wildcards))


def slices(wildcards):
    """How many slices of temporary checkpoints a job makes or uses: one, or none."""
    is_temporary = wildcards.sweep != study.ENDS and not study.is_kept(
        config, wildcards.sweep
    )
    return int(is_temporary)


# --- download -------------------------------------------------------------------------------


def demo_code(wildcards):
    """Hash of what training a stage of the demo stands on, of all worlds its own alone."""
    return code("train_demo_checkpoint.py", f"demo.train_{wildcards.world}")


def demo_start(wildcards):
    """The checkpoint that a stage of the demo trains on: none for pretraining."""
    return study.demo_start(wildcards.world, wildcards.stage)


def gguf_source(wildcards):
    """Where the config says that a GGUF file is."""
    return study.gguf_sources(config)[wildcards.gguf]


def gguf_file(wildcards):
    """Where it is on this machine; nowhere in a plan without the package that holds it."""
    try:
        return str(gguf.locate(gguf_source(wildcards)))
    except UserError:
        return []


def checkpoint_source(wildcards):
    """Where a checkpoint comes from; what is made here from the folder it is made into."""
    return study.source(config, wildcards.pair, wildcards.end)


def checkpoint_files(wildcards):
    """The files of a checkpoint that are on this machine already, or the folder made here."""
    return study.source_files(config, wildcards.pair, wildcards.end)


def checkpoint_key(wildcards):
    """The key of the config that states the revision of a checkpoint."""
    return f"pairs.{wildcards.pair}.{wildcards.end}.revision"


def tower_base(wildcards):
    """The base that completes a checkpoint if it is the vision tower of a CLIP alone."""
    return image_study.base_of_tower(config, wildcards.pair, wildcards.end)


def data_key(wildcards):
    """The key of the config that states the revision of a loss's data."""
    return f"losses.{wildcards.loss}.data.revision"


def image_source(wildcards):
    """Where the images of a task come from."""
    return image_study.image_source(**wildcards)


def image_key(wildcards):
    """The key of the config that lacks the revision of a task's images, if one does."""
    return image_study.image_key(config, **wildcards)


# --- continue pretraining -------------------------------------------------------------------


def continued_start(wildcards):
    """Where the checkpoint comes from that a continued training starts from."""
    return study.place(config["continued"][wildcards.continued]["start"])


def continued_files(wildcards):
    """The files of that checkpoint that are on this machine already, or the folder made here."""
    return study.place_files(config["continued"][wildcards.continued]["start"])


def continued_key(wildcards):
    """The key of the config that states its revision."""
    return f"continued.{wildcards.continued}.start.revision"


def continued_data(wildcards):
    """The text, or the prompts with answers, of a continued training."""
    data = config["continued"][wildcards.continued]["data"]
    return os.path.relpath(configuration.data_file(data, PROJECT))


def continued_recipe(wildcards):
    """The options of a continued training, with its seed."""
    return study.continued(config, wildcards.continued)


# --- compare --------------------------------------------------------------------------------


def compared(wildcards, end):
    """Base or post of the pairs of a comparison, in its order."""
    pairs = config["comparisons"][wildcards.comparison]
    return [f"resources/models/{pair}/{end}" for pair in pairs]


# --- edit, evaluate, approximate loss -------------------------------------------------------


def variants(wildcards):
    """The variants of a slice, each with its options and the folder of its checkpoint."""
    return study.variants(config, wildcards.pair, wildcards.sweep, wildcards.slice)


def checkpoints(wildcards):
    """The folders that hold the checkpoints of a slice."""
    return study.folders(wildcards.pair, wildcards.sweep, wildcards.slice)


def edit_sources(wildcards):
    """What a sweep's edits read beside base and post."""
    return study.edit_sources(config, wildcards.pair, wildcards.sweep)


def edit_code(wildcards):
    """Hash of what a sweep's edits stand on, of all methods its own alone."""
    return code("edit_delta.py", *study.edit_modules(config, wildcards.sweep))


def export_formats(wildcards):
    """The forms in which a sweep's variants are stored, beside checkpoints."""
    return study.exported(config, wildcards.sweep)


def suite(wildcards):
    """A suite of texts, its tasks with their judges, and with paths from here."""
    options = config["suites"][wildcards.suite]
    specs = {name: dict(task) for name, task in options["tasks"].items()}
    for task in specs.values():
        if "data" in task:
            task["data"] = os.path.relpath(tasks.data_folder(task["data"], PROJECT))
        if "judge" in task:
            judge = config["judges"][task["judge"]]
            text = configuration.data_file(judge["document"], PROJECT)
            task["judge"] = {**judge, "document": os.path.relpath(text)}
    return {**options, "tasks": specs}


def task_files(wildcards):
    """The files of the project's own tasks in a suite, and of the data that the suite names."""
    specs = suite(wildcards)["tasks"]
    found = tasks.files(list(specs))
    for name, task in specs.items():
        if "data" in task:
            found += tasks.data_files(name, Path(task["data"]))
    return [os.path.relpath(file) for file in found]


def judged_documents(wildcards):
    """The texts that answers to tasks of a suite are judged by."""
    judges = [
        task["judge"] for task in suite(wildcards)["tasks"].values() if "judge" in task
    ]
    return sorted({judge["document"] for judge in judges})


def code_allowed(wildcards):
    """Whether a suite's tasks may run code that a model writes; none may if none would."""
    names = config["suites"][wildcards.suite]["tasks"]
    return config["allow_code_execution"] and any(map(tasks.runs_code, names))


def loss_inputs(wildcards):
    """The data of a loss: a file, or a task's prepared images and the head that they need."""
    loss = config["losses"][wildcards.loss]
    data = loss["data"]
    if image_study.asks_images(loss):
        heads = image_study.heads(config, wildcards.pair, [data["task"]])
        place = image_study.prepared(wildcards.pair, data["task"], data["split"])
        return {"data": place, **dict(zip(["head"], heads))}
    file = study.loss_data(config, wildcards.loss)
    if file != data:
        return {"data": file}
    return {"data": os.path.relpath(configuration.data_file(file, PROJECT))}


def suite_images(wildcards):
    """The prepared images of a suite's tasks, and for CLIP their zero-shot heads."""
    names = list(config["suites"][wildcards.suite]["tasks"])
    found = [image_study.prepared(wildcards.pair, name) for name in names]
    return {"images": found, "heads": image_study.heads(config, wildcards.pair, names)}


def task_definition(wildcards):
    """The file that says what an image task is."""
    return os.path.relpath(image_tasks.file(wildcards.task))


def task_images(wildcards):
    """The data set that an image task's split is prepared from."""
    return image_study.images_of(config, wildcards.task, wildcards.split)


def loss_code(script):
    """Hash of what a loss stands on, of all kinds its own alone."""
    kind = lambda wildcards: config["losses"][wildcards.loss]["kind"]
    return lambda wildcards: code(script, f"losses.{kind(wildcards)}")


# --- plot -----------------------------------------------------------------------------------


def drawing(section, name):
    """A figure or a table of the config, with the module of its kind."""
    spec = config[section][name]
    return spec, {"figures": figures, "tables": tables}[section].load(spec["kind"])


def figure_results(wildcards):
    """The result files that a figure draws."""
    spec, kind = drawing("figures", wildcards.figure)
    return study.drawn(config, spec, kind.MEASURES)


def figure_code(wildcards):
    """Hash of what a figure stands on, of all kinds its own alone."""
    spec, _ = drawing("figures", wildcards.figure)
    return code("plot_figure.py", f"figures.{spec['kind']}")


def table_results(wildcards):
    """The result files that a table shows."""
    spec, kind = drawing("tables", wildcards.table)
    return study.drawn(config, spec, kind.MEASURES)


def table_code(wildcards):
    """Hash of what a table stands on, of all kinds its own alone."""
    spec, _ = drawing("tables", wildcards.table)
    return code("write_table.py", f"tables.{spec['kind']}")


def report_tables():
    """The tables that the report shows after the verdicts, as far as they are measured."""
    names = ["claims"] * bool(study.slopes(config))
    names += config["tables"]
    names += ["scores"] * bool(study.scores(config))
    names += ["loss_changes"] * bool(study.slopes(config))
    return [f"results/tables/{name}.csv" for name in names]


def report_code():
    """Hash of what the report stands on: the captions and the page beside its script."""
    kinds = {
        f"{section}.{spec['kind']}"
        for section in ("figures", "tables")
        for spec in config[section].values()
    }
    page = (PROJECT / "workflow" / "scripts" / "deltaedit" / "report").glob("page.*")
    return [code("build_report.py", *sorted(kinds)), digest.of_files(page)]
