kept = [name for name, sweep in config["sweeps"].items() if sweep["keep"]]


def edit_code(wildcards):
    """Hash of what a sweep's edits stand on, its own method alone of all methods."""
    method = config["sweeps"][wildcards.sweep]["method"]
    return code("edit_delta.py", f"edits.{method}")


rule edit_delta:
    input:
        base="resources/models/{pair}/base",
        post="resources/models/{pair}/post",
        delta="results/{pair}/delta",
    output:
        variants=temp(directory("results/{pair}/variants/{sweep}/{slice}")),
    log:
        "logs/edit_delta/{pair}/{sweep}/{slice}.log",
    benchmark:
        "benchmarks/edit_delta/{pair}/{sweep}/{slice}.tsv"
    conda:
        "../../envs/deltaedit.yaml"
    wildcard_constraints:
        sweep="|".join(name for name in config["sweeps"] if name not in kept) or "(?!)",
    resources:
        mem_mb=8000,
    params:
        variants=variants,
        sources=lookup(dpath="pairs/{pair}", within=config),
        code=edit_code,
    script:
        "../scripts/edit_delta.py"


use rule edit_delta as edit_kept_delta with:
    output:
        variants=directory("results/{pair}/variants/{sweep}/{slice}"),
    wildcard_constraints:
        sweep="|".join(kept) or "(?!)",
