rule decompose_delta:
    input:
        base="resources/models/{pair}/base",
        post="resources/models/{pair}/post",
        delta="results/{pair}/delta",
    output:
        vectors=directory("results/{pair}/vectors"),
    log:
        "logs/decompose_delta/{pair}.log",
    benchmark:
        "benchmarks/decompose_delta/{pair}.tsv"
    conda:
        "../../envs/deltaedit.yaml"
    threads: edit_threads
    resources:
        **asked(decomposition_needs),
    params:
        code=code("decompose_delta.py"),
    script:
        "../scripts/decompose_delta.py"


rule edit_delta:
    input:
        unpack(edit_sources),
        base="resources/models/{pair}/base",
        post="resources/models/{pair}/post",
        # Read by nobody here: the pair was checked when its delta was extracted.
        delta="results/{pair}/delta",
    output:
        variants=temp(directory("results/{pair}/variants/{sweep}/{slice}")),
    log:
        "logs/edit_delta/{pair}/{sweep}/{slice}.log",
    benchmark:
        "benchmarks/edit_delta/{pair}/{sweep}/{slice}.tsv"
    wildcard_constraints:
        sweep=study.pattern(config, keep=False),
    conda:
        "../../envs/deltaedit.yaml"
    threads: edit_threads
    resources:
        **asked(editing_needs),
        slices=slices,
    params:
        variants=variants,
        code=edit_code,
    script:
        "../scripts/edit_delta.py"


use rule edit_delta as edit_kept_delta with:
    output:
        variants=directory("results/{pair}/variants/{sweep}/{slice}"),
    wildcard_constraints:
        sweep=study.pattern(config, keep=True),


rule export_variants:
    input:
        unpack(edit_sources),
        base="resources/models/{pair}/base",
        post="resources/models/{pair}/post",
        checkpoints=checkpoints,
    output:
        exports=directory("results/{pair}/exports/{sweep}/{slice}"),
        sizes="results/{pair}/sizes/{sweep}/{slice}.json",
    log:
        "logs/export_variants/{pair}/{sweep}/{slice}.log",
    benchmark:
        "benchmarks/export_variants/{pair}/{sweep}/{slice}.tsv"
    # Checkpoints on disk are used before more are made.
    priority: 10
    conda:
        "../../envs/deltaedit.yaml"
    resources:
        **asked(export_needs),
        slices=slices,
    params:
        variants=variants,
        formats=export_formats,
        code=code("export_variants.py"),
    script:
        "../scripts/export_variants.py"
