rule extract_delta:
    input:
        base="resources/models/{pair}/base",
        post="resources/models/{pair}/post",
    output:
        delta=directory("results/{pair}/delta"),
    log:
        "logs/extract_delta/{pair}.log",
    benchmark:
        "benchmarks/extract_delta/{pair}.tsv"
    conda:
        "../../envs/deltaedit.yaml"
    resources:
        **asked(extraction_needs),
    params:
        code=code("extract_delta.py"),
    script:
        "../scripts/extract_delta.py"
