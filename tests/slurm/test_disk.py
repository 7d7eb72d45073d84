"""A sweep larger than the disk: at most so many variants are there at a time."""

import copy
import time

from .conftest import Site

SLICES, PER_SLICE, LIMIT = 10, 4, 4  # 40 variants in all, at most 16 of them at a time


def variants(folder):
    """The variants on disk, the unfinished included."""
    return len(list(folder.glob("results/large/variants/sweep/*/*/model.safetensors")))


def test_a_sweep_of_forty_variants_never_has_more_than_sixteen_on_disk(
    make_project, cluster, tiny_config, tiny_pair
):
    large_pair = tiny_pair(hidden_size=1024, intermediate_size=2752)
    assert (large_pair[0] / "model.safetensors").stat().st_size > 100e6
    project = make_project()
    config = copy.deepcopy(tiny_config)
    ends = ({"source": "path", "path": str(end)} for end in large_pair)
    config["pairs"] = {
        "large": {"kind": "causal_lm", **dict(zip(("base", "post"), ends, strict=True))}
    }
    config["suites"] = {
        "one": {"tasks": {"demo_truth": {"metric": "acc"}}, "batch_size": 4, "limit": 1}
    }
    config["losses"] = {}
    config["sweeps"] = {
        "sweep": {
            "method": "dare",
            "grid": {
                "drop_rate": [(i + 1) / 20 for i in range(SLICES)],
                "dropped_scale": [0.0, 0.2, 0.5, 2.0],
            },
            "seeds": [3],
            "split_by": ["drop_rate", "seed"],
        }
    }
    config["runs"] = [{"pair": "large", "sweeps": ["sweep"], "suites": ["one"]}]
    config["figures"] = {}
    project.configure(config)
    run = Site(project, cluster, [], 1).submit("--resources", f"slices={LIMIT}")
    seen = set()
    while run.process.poll() is None:
        seen.add(variants(project.folder))
        time.sleep(0.05)
    run.finish()
    assert max(seen) == LIMIT * PER_SLICE, "as many as allowed, and no more"
    assert variants(project.folder) == 0
    assert len(list((project.folder / "results/large/kept").iterdir())) == 2 + SLICES * PER_SLICE
