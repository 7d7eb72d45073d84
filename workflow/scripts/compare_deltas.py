"""Compare the deltas of several pairs: norms and cosines per layer and group."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from deltaedit import geometry, provenance, results
from deltaedit.checkpoints import Checkpoint

if __name__ == "__main__":
    source, names = snakemake.input, snakemake.params.pairs
    ends = {
        pair: {"base": base, "post": post}
        for pair, base, post in zip(names, source.base, source.post, strict=True)
    }
    rows = geometry.compare(
        {pair: (Checkpoint(of["base"]), Checkpoint(of["post"])) for pair, of in ends.items()}
    )
    record = {
        "comparison": snakemake.wildcards.comparison,
        "pairs": [provenance.record(pair, of, "numpy", "numba") for pair, of in ends.items()],
    }
    results.write_parquet(snakemake.output.comparison, rows, record)
