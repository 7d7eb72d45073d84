# resources/demo/{world}/{stage}/                     checkpoints of the offline demo, trained here
# resources/demo/{world}/on/{continued}/{stage}/      the same, trained on a continued one
# resources/gguf/{gguf}/                              checkpoints that were GGUF files
# resources/continued/{continued}/start/              what training goes on from
# resources/continued/{continued}/model/              the same after more training
# resources/models/{pair}/{end}/                      base and post of a pair, Hugging Face layout
# resources/data/{loss}.jsonl                         examples of a loss from the hub
# resources/images/{task}@{revision}/{split}.parquet  images and labels of a task from the hub
# results/{pair}/delta/                               post minus base, exact, and its statistics
# results/{pair}/gradient/{loss}/                     gradient of a loss at post
# results/{pair}/curvature/{loss}.json                curvature of a loss along the delta, entry by entry
# results/{pair}/images/{task}/{split}/               pictures as the pair's models take them
# results/{pair}/heads/{task}.safetensors             CLIP's zero-shot head
# results/{pair}/variants/{sweep}/{slice}/{variant}/  edited checkpoints, temporary unless kept
# results/{pair}/exports/{sweep}/{slice}/{variant}/   the same in compact forms
# results/{pair}/sizes/{sweep}/{slice}.json           bytes of each, one row per variant and form
# results/{pair}/eval/{sweep}/{slice}/{suite}.json    one row per variant and task
# results/{pair}/loss/{sweep}/{slice}/{loss}.parquet  one row per variant, quadrature, node and tensor
# results/{pair}/kept/                                measurements by content, so that none is made twice
# results/comparisons/{comparison}.parquet            deltas of several pairs, norms and cosines per part
# results/tables/*.{csv,md,tex}  results/figures/*.{svg,png,csv}  results/report.html
#
# Names in paths are chosen in the config; their options never appear in paths, except that a
# slice and a variant are labelled by their values on the sweep's axes. The sweep `ends` stands for
# base and post themselves.

from snakemake.utils import min_version

min_version("9.9")


# A study given with --configfile replaces the default one; two configfiles would be merged.
if not workflow.configfiles:

    configfile: "config.yaml"


# For --sdm apptainer: made from envs/deltaedit.def, which says how.
container: "envs/deltaedit.sif"


include: "workflow/rules/common.smk"
include: "workflow/rules/download.smk"
include: "workflow/rules/continue_pretraining.smk"
include: "workflow/rules/extract_delta.smk"
include: "workflow/rules/compare_deltas.smk"
include: "workflow/rules/edit.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/approximate_loss.smk"
include: "workflow/rules/plot.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/cluster.smk"


rule all:
    default_target: True
    input:
        "results/report.html",
        study.kept(config),
        study.comparisons(config),
