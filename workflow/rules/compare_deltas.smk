rule compare_deltas:
    input:
        base=lambda wildcards: compared(wildcards, "base"),
        post=lambda wildcards: compared(wildcards, "post"),
    output:
        comparison="results/comparisons/{comparison}.parquet",
    log:
        "logs/compare_deltas/{comparison}.log",
    benchmark:
        "benchmarks/compare_deltas/{comparison}.tsv"
    conda:
        "../../envs/deltaedit.yaml"
    threads: 2
    resources:
        **asked(comparison_needs),
    params:
        pairs=lookup(dpath="comparisons/{comparison}", within=config),
        code=code("compare_deltas.py"),
    script:
        "../scripts/compare_deltas.py"
