rule train_demo_checkpoint:
    input:
        start=demo_start,
    output:
        checkpoint=directory("resources/demo/{world}/{stage}"),
    log:
        "logs/train_demo_checkpoint/{world}/{stage}.log",
    benchmark:
        "benchmarks/train_demo_checkpoint/{world}/{stage}.tsv"
    conda:
        "../../envs/deltaedit.yaml"
    resources:
        **asked(training_needs),
    params:
        seed=config["seed"],
        code=demo_code,
    script:
        "../scripts/train_demo_checkpoint.py"


rule make_demo_images:
    output:
        train="resources/demo/vision/data/{task}/train.parquet",
        test="resources/demo/vision/data/{task}/test.parquet",
    log:
        "logs/make_demo_images/{task}.log",
    benchmark:
        "benchmarks/make_demo_images/{task}.tsv"
    wildcard_constraints:
        task="|".join(study.STARTS["vision"]),
    conda:
        "../../envs/deltaedit.yaml"
    resources:
        **asked(training_needs),
    params:
        code=code("make_demo_images.py"),
    script:
        "../scripts/make_demo_images.py"


rule unpack_gguf:
    input:
        file=gguf_file,
    output:
        checkpoint=directory("resources/gguf/{gguf}"),
    log:
        "logs/unpack_gguf/{gguf}.log",
    benchmark:
        "benchmarks/unpack_gguf/{gguf}.tsv"
    conda:
        "../../envs/deltaedit.yaml"
    resources:
        **asked(unpacking_needs),
    params:
        source=gguf_source,
        code=code("unpack_gguf.py"),
    script:
        "../scripts/unpack_gguf.py"


rule download_checkpoint:
    input:
        local=checkpoint_files,
        base=tower_base,
    output:
        checkpoint=directory("resources/models/{pair}/{end}"),
    log:
        "logs/download_checkpoint/{pair}/{end}.log",
    benchmark:
        "benchmarks/download_checkpoint/{pair}/{end}.tsv"
    localrule: True
    conda:
        "../../envs/deltaedit.yaml"
    params:
        source=checkpoint_source,
        key=checkpoint_key,
        code=code("download_checkpoint.py"),
    script:
        "../scripts/download_checkpoint.py"


rule download_data:
    output:
        data="resources/data/{loss}.jsonl",
    log:
        "logs/download_data/{loss}.log",
    benchmark:
        "benchmarks/download_data/{loss}.tsv"
    wildcard_constraints:
        loss=study.fetched(config),
    localrule: True
    conda:
        "../../envs/deltaedit.yaml"
    params:
        source=lookup(dpath="losses/{loss}/data", within=config),
        key=data_key,
        code=code("download_data.py"),
    script:
        "../scripts/download_data.py"


rule download_images:
    output:
        images="resources/images/{task}@{revision}/{split}.parquet",
    log:
        "logs/download_images/{task}@{revision}/{split}.log",
    benchmark:
        "benchmarks/download_images/{task}@{revision}/{split}.tsv"
    wildcard_constraints:
        task="|".join(image_tasks.names()),
        revision=f"[0-9a-f]{{40}}|{image_study.UNPINNED}",
        split="[^/]+",
    localrule: True
    conda:
        "../../envs/deltaedit.yaml"
    params:
        source=image_source,
        key=image_key,
        code=code("download_images.py"),
    script:
        "../scripts/download_images.py"
