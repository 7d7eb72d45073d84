use rule download_checkpoint as download_start with:
    input:
        local=continued_files,
        base=[],
    output:
        checkpoint=directory("resources/continued/{continued}/start"),
    log:
        "logs/download_start/{continued}.log",
    benchmark:
        "benchmarks/download_start/{continued}.tsv"
    params:
        source=continued_start,
        key=continued_key,
        code=code("download_checkpoint.py"),


rule continue_pretraining:
    input:
        start="resources/continued/{continued}/start",
        data=continued_data,
    output:
        model=directory("resources/continued/{continued}/model"),
    log:
        "logs/continue_pretraining/{continued}.log",
    benchmark:
        "benchmarks/continue_pretraining/{continued}.tsv"
    conda:
        "../../envs/deltaedit.yaml"
    resources:
        **asked(continuation_needs),
    params:
        spec=continued_recipe,
        # Trainer's checkpoints, from which a killed job goes on.
        kept="resources/continued/{continued}/kept",
        code=code("continue_pretraining.py"),
    script:
        "../scripts/continue_pretraining.py"


use rule train_demo_checkpoint as train_on_continued with:
    input:
        start="resources/continued/{continued}/model",
    output:
        checkpoint=directory("resources/demo/{world}/on/{continued}/{stage}"),
    log:
        "logs/train_on_continued/{world}/{continued}/{stage}.log",
    benchmark:
        "benchmarks/train_on_continued/{world}/{continued}/{stage}.tsv"
