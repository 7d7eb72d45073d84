rule evaluate_variants:
    input:
        base="resources/models/{pair}/base",
        post="resources/models/{pair}/post",
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
    params:
        variants=variants,
        suite=lookup(dpath="suites/{suite}", within=config),
        kept="results/{pair}/kept",
        seed=config["seed"],
        code=code("evaluate_variants.py"),
    script:
        "../scripts/evaluate_variants.py"
