rule gather_scores:
    input:
        study.scores(config),
    output:
        table="results/tables/scores.csv",
        markdown="results/tables/scores.md",
        latex="results/tables/scores.tex",
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
        markdown="results/tables/loss_changes.md",
        latex="results/tables/loss_changes.tex",
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
        markdown="results/tables/claims.md",
        latex="results/tables/claims.tex",
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


rule judge_variants:
    input:
        **({"scores": "results/tables/scores.csv"} if study.scores(config) else {}),
        **(
            {"changes": "results/tables/loss_changes.csv"}
            if study.slopes(config)
            else {}
        ),
    output:
        variants="results/tables/variants.csv",
        variants_markdown="results/tables/variants.md",
        variants_latex="results/tables/variants.tex",
        table="results/tables/verdicts.csv",
        markdown="results/tables/verdicts.md",
        latex="results/tables/verdicts.tex",
    log:
        "logs/judge_variants.log",
    benchmark:
        "benchmarks/judge_variants.tsv"
    localrule: True
    conda:
        "../../envs/deltaedit.yaml"
    params:
        code=code("judge_variants.py"),
    script:
        "../scripts/judge_variants.py"


rule write_table:
    input:
        results=table_results,
    output:
        table="results/tables/{table}.csv",
        markdown="results/tables/{table}.md",
        latex="results/tables/{table}.tex",
    log:
        "logs/write_table/{table}.log",
    benchmark:
        "benchmarks/write_table/{table}.tsv"
    localrule: True
    conda:
        "../../envs/deltaedit.yaml"
    params:
        table=lookup(dpath="tables/{table}", within=config),
        code=table_code,
    script:
        "../scripts/write_table.py"


rule plot_figure:
    input:
        results=figure_results,
    output:
        svg="results/figures/{figure}.svg",
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
        code=figure_code,
    script:
        "../scripts/plot_figure.py"
