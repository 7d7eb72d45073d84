def figure_results(wildcards):
    """The result files that a figure draws."""
    return study.drawn(config, wildcards.figure)


def figure_code(wildcards):
    """Hash of what a figure stands on, its own kind alone of all kinds."""
    return code("plot_figure.py", f"figures.{config['figures'][wildcards.figure]['kind']}")


def figure_caption(wildcards):
    """What to see in a figure."""
    return figures.load(config["figures"][wildcards.figure]["kind"]).CAPTION


rule gather_scores:
    input:
        study.scores(config),
    output:
        table=report(
            "results/tables/scores.csv",
            caption="../report/scores.rst",
            category="Tables",
            labels={"table": "accuracies of all variants"},
        ),
    log:
        "logs/gather_scores.log",
    benchmark:
        "benchmarks/gather_scores.tsv"
    conda:
        "../../envs/deltaedit.yaml"
    localrule: True
    params:
        code=code("gather_scores.py"),
    script:
        "../scripts/gather_scores.py"


rule gather_loss_changes:
    input:
        study.slopes(config),
    output:
        table=report(
            "results/tables/loss_changes.csv",
            caption="../report/loss_changes.rst",
            category="Tables",
            labels={"table": "loss changes of all variants"},
        ),
    log:
        "logs/gather_loss_changes.log",
    benchmark:
        "benchmarks/gather_loss_changes.tsv"
    conda:
        "../../envs/deltaedit.yaml"
    localrule: True
    params:
        code=code("gather_loss_changes.py"),
    script:
        "../scripts/gather_loss_changes.py"


rule plot_figure:
    input:
        results=figure_results,
    output:
        svg=report(
            "results/figures/{figure}.svg",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        png="results/figures/{figure}.png",
        drawn="results/figures/{figure}.csv",
    log:
        "logs/plot_figure/{figure}.log",
    benchmark:
        "benchmarks/plot_figure/{figure}.tsv"
    conda:
        "../../envs/deltaedit.yaml"
    localrule: True
    params:
        figure=lookup(dpath="figures/{figure}", within=config),
        caption=figure_caption,
        code=figure_code,
    script:
        "../scripts/plot_figure.py"
