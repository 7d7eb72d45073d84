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
    wildcard_constraints:
        sweep=study.pattern(config, keep=False),
    conda:
        "../../envs/deltaedit.yaml"
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
