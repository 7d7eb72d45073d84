def demo_start(wildcards):
    """The checkpoint that a stage of the demo trains on: none for pretraining."""
    if wildcards.stage == "pretrained":
        return []
    return f"resources/demo/{wildcards.world}/pretrained"


def source_of(wildcards):
    """Where a checkpoint comes from, a demo's as the path of the folder it is trained into."""
    source = dict(config["pairs"][wildcards.pair][wildcards.end])
    if source["source"] == "demo":
        return {"source": "path", "path": f"resources/demo/{source['world']}/{source['stage']}"}
    return source


def local_source(wildcards):
    """What a download needs on this machine: the demo's folder, a path's files, or nothing."""
    source = source_of(wildcards)
    if config["pairs"][wildcards.pair][wildcards.end]["source"] == "demo":
        return source["path"]
    if source["source"] == "path":
        return sorted(map(str, Path(source["path"]).glob("*.safetensors")))
    return []


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
    threads: 2
    resources:
        mem_mb=2000,
    params:
        seed=config["seed"],
        code=code("train_demo_checkpoint.py"),
    script:
        "../scripts/train_demo_checkpoint.py"


rule download_checkpoint:
    input:
        local=local_source,
    output:
        checkpoint=directory("resources/models/{pair}/{end}"),
    log:
        "logs/download_checkpoint/{pair}/{end}.log",
    benchmark:
        "benchmarks/download_checkpoint/{pair}/{end}.tsv"
    conda:
        "../../envs/deltaedit.yaml"
    localrule: True
    params:
        source=source_of,
        code=code("download_checkpoint.py"),
    script:
        "../scripts/download_checkpoint.py"
