rule evaluate_variants:
    input:
        base="resources/models/{pair}/base",
        post="resources/models/{pair}/post",
        checkpoints=checkpoints,
        tasks=task_files,
        documents=judged_documents,
    output:
        scores="results/{pair}/eval/{sweep}/{slice}/{suite}.json",
    log:
        "logs/evaluate_variants/{pair}/{sweep}/{slice}/{suite}.log",
    benchmark:
        "benchmarks/evaluate_variants/{pair}/{sweep}/{slice}/{suite}.tsv"
    wildcard_constraints:
        pair=study.pairs_of(config, "causal_lm"),
    # Checkpoints on disk are measured before more are made.
    priority: 10
    conda:
        "../../envs/deltaedit.yaml"
    resources:
        **asked(evaluation_needs),
        slices=slices,
    params:
        variants=variants,
        suite=suite,
        kept="results/{pair}/kept",
        seed=config["seed"],
        allow_code=code_allowed,
        code=code("evaluate_variants.py"),
    script:
        "../scripts/evaluate_variants.py"


rule prepare_images:
    input:
        base="resources/models/{pair}/base",
        task=task_definition,
        images=task_images,
    output:
        images=directory("results/{pair}/images/{task}/{split}"),
    log:
        "logs/prepare_images/{pair}/{task}/{split}.log",
    benchmark:
        "benchmarks/prepare_images/{pair}/{task}/{split}.tsv"
    conda:
        "../../envs/deltaedit.yaml"
    resources:
        **asked(preparation_needs),
    params:
        code=code("prepare_images.py"),
    script:
        "../scripts/prepare_images.py"


rule encode_classes:
    input:
        base="resources/models/{pair}/base",
        task=task_definition,
    output:
        head="results/{pair}/heads/{task}.safetensors",
    log:
        "logs/encode_classes/{pair}/{task}.log",
    benchmark:
        "benchmarks/encode_classes/{pair}/{task}.tsv"
    wildcard_constraints:
        pair=study.pairs_of(config, "clip"),
    conda:
        "../../envs/deltaedit.yaml"
    resources:
        **asked(preparation_needs),
    params:
        code=code("encode_classes.py"),
    script:
        "../scripts/encode_classes.py"


rule evaluate_images:
    input:
        unpack(suite_images),
        base="resources/models/{pair}/base",
        post="resources/models/{pair}/post",
        checkpoints=checkpoints,
    output:
        scores="results/{pair}/eval/{sweep}/{slice}/{suite}.json",
    log:
        "logs/evaluate_images/{pair}/{sweep}/{slice}/{suite}.log",
    benchmark:
        "benchmarks/evaluate_images/{pair}/{sweep}/{slice}/{suite}.tsv"
    wildcard_constraints:
        pair=study.pairs_of(config, *image_tasks.KINDS),
    # Checkpoints on disk are measured before more are made.
    priority: 10
    conda:
        "../../envs/deltaedit.yaml"
    resources:
        **asked(evaluation_needs),
        slices=slices,
    params:
        variants=variants,
        kind=lookup(dpath="pairs/{pair}/kind", within=config),
        suite=lookup(dpath="suites/{suite}", within=config),
        kept="results/{pair}/kept",
        code=code("evaluate_images.py"),
    script:
        "../scripts/evaluate_images.py"
