rule write_config:
    output:
        config=report(
            "results/config.yaml",
            caption="../report/config.rst",
            category="Configuration",
            labels={"file": "the whole config, defaults filled in"},
        ),
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
        tables=["results/tables/scores.html"]
        * any(run["suites"] for run in config["runs"])
        + ["results/tables/loss_changes.html", "results/tables/claims.html"]
        * any(run["losses"] for run in config["runs"]),
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
        code=code("build_report.py"),
    script:
        "../scripts/build_report.py"
