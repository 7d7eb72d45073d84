rule write_config:
    output:
        config="results/config.yaml",
    log:
        "logs/write_config.log",
    benchmark:
        "benchmarks/write_config.tsv"
    localrule: True
    conda:
        "../../envs/deltaedit.yaml"
    params:
        config=config,
        code=code("write_config.py"),
    script:
        "../scripts/write_config.py"


rule build_report:
    input:
        config="results/config.yaml",
        figures=collect("results/figures/{figure}.svg", figure=config["figures"]),
        tables=report_tables(),
        variants="results/tables/variants.csv",
        verdicts="results/tables/verdicts.csv",
        results=study.scores(config) + study.slopes(config) + study.comparisons(config),
    output:
        report="results/report.html",
    log:
        "logs/build_report.log",
    benchmark:
        "benchmarks/build_report.tsv"
    localrule: True
    conda:
        "../../envs/deltaedit.yaml"
    params:
        tables=config["tables"],
        # The rules of this run, in the order of the stages; each has a folder of benchmarks.
        rules=lambda wildcards: [rule.name for rule in workflow.rules],
        code=report_code(),
    script:
        "../scripts/build_report.py"
