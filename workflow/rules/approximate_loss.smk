rule compute_gradient:
    input:
        unpack(loss_inputs),
        base="resources/models/{pair}/base",
        post="resources/models/{pair}/post",
    output:
        gradient=directory("results/{pair}/gradient/{loss}"),
    log:
        "logs/compute_gradient/{pair}/{loss}.log",
    benchmark:
        "benchmarks/compute_gradient/{pair}/{loss}.tsv"
    conda:
        "../../envs/deltaedit.yaml"
    resources:
        **asked(gradient_needs),
    params:
        kind=lookup(dpath="pairs/{pair}/kind", within=config),
        loss=lookup(dpath="losses/{loss}", within=config),
        code=loss_code("compute_gradient.py"),
    script:
        "../scripts/compute_gradient.py"


rule estimate_curvature:
    input:
        unpack(loss_inputs),
        base="resources/models/{pair}/base",
        post="resources/models/{pair}/post",
    output:
        curvature="results/{pair}/curvature/{loss}.json",
    log:
        "logs/estimate_curvature/{pair}/{loss}.log",
    benchmark:
        "benchmarks/estimate_curvature/{pair}/{loss}.tsv"
    conda:
        "../../envs/deltaedit.yaml"
    resources:
        **asked(curvature_needs),
    params:
        kind=lookup(dpath="pairs/{pair}/kind", within=config),
        loss=lookup(dpath="losses/{loss}", within=config),
        seed=config["seed"],
        probes=PROBES,
        code=loss_code("estimate_curvature.py"),
    script:
        "../scripts/estimate_curvature.py"


rule approximate_loss:
    input:
        unpack(loss_inputs),
        base="resources/models/{pair}/base",
        post="resources/models/{pair}/post",
        checkpoints=checkpoints,
        gradient="results/{pair}/gradient/{loss}",
    output:
        slopes="results/{pair}/loss/{sweep}/{slice}/{loss}.parquet",
    log:
        "logs/approximate_loss/{pair}/{sweep}/{slice}/{loss}.log",
    benchmark:
        "benchmarks/approximate_loss/{pair}/{sweep}/{slice}/{loss}.tsv"
    # Checkpoints on disk are measured before more are made.
    priority: 10
    conda:
        "../../envs/deltaedit.yaml"
    resources:
        **asked(loss_needs),
        slices=slices,
    params:
        variants=variants,
        kept="results/{pair}/kept",
        kind=lookup(dpath="pairs/{pair}/kind", within=config),
        loss=lookup(dpath="losses/{loss}", within=config),
        code=loss_code("approximate_loss.py"),
    script:
        "../scripts/approximate_loss.py"
