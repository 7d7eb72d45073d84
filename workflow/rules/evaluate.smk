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
    # Checkpoints on disk are measured before more are made.
    priority: 10
    conda:
        "../../envs/deltaedit.yaml"
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
