rule gather_scores:
    input:
        study.scores(config),
    output:
        table="results/tables/scores.csv",
        page=report(
            "results/tables/scores.html",
            caption="../report/scores.rst",
            category="Tables",
            labels={"table": "accuracies of all variants"},
        ),
    log:
        "logs/gather_scores.log",
    benchmark:
        "benchmarks/gather_scores.tsv"
    localrule: True
    conda:
        "../../envs/deltaedit.yaml"
    params:
        code=code("gather_scores.py"),
    script:
        "../scripts/gather_scores.py"


rule gather_loss_changes:
    input:
        slopes=study.slopes(config),
        curvatures=study.curvatures(config),
    output:
        table="results/tables/loss_changes.csv",
        page=report(
            "results/tables/loss_changes.html",
            caption="../report/loss_changes.rst",
            category="Tables",
            labels={"table": "loss changes of all variants"},
        ),
    log:
        "logs/gather_loss_changes.log",
    benchmark:
        "benchmarks/gather_loss_changes.tsv"
    localrule: True
    conda:
        "../../envs/deltaedit.yaml"
    params:
        code=code("gather_loss_changes.py"),
    script:
        "../scripts/gather_loss_changes.py"


rule weigh_claims:
    input:
        **({"scores": "results/tables/scores.csv"} if study.scores(config) else {}),
        changes="results/tables/loss_changes.csv",
    output:
        table="results/tables/claims.csv",
        page=report(
            "results/tables/claims.html",
            caption="../report/claims.rst",
            category="Tables",
            labels={"table": "the papers' claims, on our data"},
        ),
    log:
        "logs/weigh_claims.log",
    benchmark:
        "benchmarks/weigh_claims.tsv"
    localrule: True
    conda:
        "../../envs/deltaedit.yaml"
    params:
        code=code("weigh_claims.py"),
    script:
        "../scripts/weigh_claims.py"


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
    localrule: True
    conda:
        "../../envs/deltaedit.yaml"
    params:
        figure=lookup(dpath="figures/{figure}", within=config),
        caption=figure_caption,
        code=figure_code,
    script:
        "../scripts/plot_figure.py"
