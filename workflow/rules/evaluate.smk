def task_files(wildcards):
    """The files of the project's own tasks in a suite."""
    names = list(config["suites"][wildcards.suite]["tasks"])
    return [os.path.relpath(file) for file in tasks.files(names)]


rule evaluate_variants:
    input:
        checkpoints=checkpoints,
        tasks=task_files,
    output:
        scores="results/{pair}/eval/{sweep}/{slice}/{suite}.json",
    log:
        "logs/evaluate_variants/{pair}/{sweep}/{slice}/{suite}.log",
    benchmark:
        "benchmarks/evaluate_variants/{pair}/{sweep}/{slice}/{suite}.tsv"
    conda:
        "../../envs/deltaedit.yaml"
    # Checkpoints on disk are measured before more are made.
    priority: 10
    resources:
        mem_mb=8000,
    params:
        variants=variants,
        sources=lookup(dpath="pairs/{pair}", within=config),
        suite=lookup(dpath="suites/{suite}", within=config),
        seed=config["seed"],
        code=code("evaluate_variants.py"),
    script:
        "../scripts/evaluate_variants.py"
