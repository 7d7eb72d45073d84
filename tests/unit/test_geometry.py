"""Deltas are compared exactly, run by run, in no more memory than a run of each."""

import copy
import json
import math
import subprocess
import sys
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from deltaedit import config as configuration
from deltaedit import geometry, kernels, results, study
from deltaedit.checkpoints import Checkpoint
from deltaedit.errors import UserError
from deltaedit.figures import cosine_map
from deltaedit.report import origins

ROOT = Path(__file__).parents[2]
SHAPES = {
    "model.embed_tokens.weight": (11, 6),
    "model.layers.0.self_attn.q_proj.weight": (6, 6),
    "model.layers.0.self_attn.o_proj.weight": (6, 6),
    "model.layers.0.mlp.up_proj.weight": (700, 6),
    "model.layers.1.mlp.up_proj.weight": (700, 6),
    "model.norm.weight": (6,),
}


def checkpoint(folder, tensors, config=None):
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return Checkpoint(folder)


def random_tensors(seed, scale=1.0, dtype=torch.float32, shapes=SHAPES):
    draw = torch.Generator().manual_seed(seed)
    return {
        name: (scale * torch.randn(shape, generator=draw)).to(dtype)
        for name, shape in shapes.items()
    }


def random_pairs(folder, names="abc", dtype=torch.float32):
    """Make pairs of one base each, whose steps are part shared, part their own."""
    base, shared = random_tensors(0, dtype=dtype), random_tensors(1, 0.01)
    found = {}
    for i, name in enumerate(names):
        own = random_tensors(2 + i, 0.02)
        post = {k: (base[k].float() + shared[k] + own[k]).to(dtype) for k in base}
        ends = {"base": base, "post": post}
        found[name] = tuple(checkpoint(folder / name / end, t) for end, t in ends.items())
    return found


def by_part(rows):
    key = ("layer", "group", "first", "second")
    return {tuple(row[name] for name in key): row for row in rows}


def parts(pairs):
    """Return the parts' deltas in float64, by torch: pair -> part -> vector."""
    where = {
        (None, "embedding"): ["model.embed_tokens.weight"],
        (0, "attention"): [name for name in SHAPES if "self_attn" in name],
        (0, "feed_forward"): ["model.layers.0.mlp.up_proj.weight"],
        (1, "feed_forward"): ["model.layers.1.mlp.up_proj.weight"],
        (None, "norm"): ["model.norm.weight"],
    }
    return {
        pair: {
            part: torch.cat(
                [
                    (post.tensor(n).float() - base.tensor(n).float()).double().flatten()
                    for n in names
                ]
            )
            for part, names in where.items()
        }
        for pair, (base, post) in pairs.items()
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_products_norms_and_cosines_are_those_of_torch(tmp_path, dtype):
    pairs = random_pairs(tmp_path, dtype=dtype)
    found, expected = by_part(geometry.compare(pairs)), parts(pairs)
    couples = list(combinations_with_replacement(pairs, 2))
    assert len(found) == 5 * len(couples)
    for first, second in couples:
        for part, one in expected[first].items():
            other, row = expected[second][part], found[*part, first, second]
            scale = float(one.norm() * other.norm())
            assert row["dot"] == pytest.approx(float(one @ other), abs=1e-13 * scale)
            assert row["norm_first"] == pytest.approx(float(one.norm()), rel=1e-13)
            assert row["norm_second"] == pytest.approx(float(other.norm()), rel=1e-13)
            assert row["cosine"] == pytest.approx(float(one @ other) / scale, abs=1e-13)
            assert row["entries"] == one.numel()
    assert 0.1 < found[1, "feed_forward", "a", "b"]["cosine"] < 0.4, "a shared step of 1 to 2"


def test_products_that_are_whole_numbers_are_exact(tmp_path):
    # sums beyond 2^24, where float32 would round
    name = "model.layers.0.mlp.up_proj.weight"
    base = {name: torch.zeros(5000, 3)}
    steps = [torch.full((5000, 3), value) for value in (2047.0, -4095.0)]
    pairs = {
        key: (
            checkpoint(tmp_path / key / "0", base),
            checkpoint(tmp_path / key / "1", {name: step}),
        )
        for key, step in zip("ab", steps, strict=True)
    }
    row = by_part(geometry.compare(pairs))[0, "feed_forward", "a", "b"]
    assert row["dot"] == -2047 * 4095 * 15000
    assert row["norm_first"] == math.sqrt(2047**2 * 15000)
    assert row["cosine"] == pytest.approx(-1, abs=1e-15)


def test_the_order_of_pairs_changes_no_number(tmp_path):
    pairs = random_pairs(tmp_path)
    there = by_part(geometry.compare(pairs))
    back = by_part(geometry.compare(dict(reversed(pairs.items()))))
    for (layer, group, first, second), row in there.items():
        other = back[layer, group, second, first]
        assert (row["dot"], row["cosine"]) == (other["dot"], other["cosine"])
        assert row["norm_first"] == other["norm_second"]
        if first == second:
            assert row["cosine"] == 1


@pytest.mark.parametrize("scale", [-8.0, 0.25])
def test_a_longer_delta_has_the_same_direction(tmp_path, scale):
    pairs = random_pairs(tmp_path, "ab")
    base, post = pairs["b"]
    # From zero, so that scaling by a power of two is exact in float32.
    zero = checkpoint(tmp_path / "zero", {n: torch.zeros(s) for n, s in SHAPES.items()})
    steps = {n: post.tensor(n) - base.tensor(n) for n in SHAPES}
    longer = checkpoint(tmp_path / "longer", {n: scale * step for n, step in steps.items()})
    plain = by_part(geometry.compare(pairs))
    scaled = by_part(geometry.compare({"a": pairs["a"], "b": (zero, longer)}))
    for key, row in plain.items():
        _, _, first, second = key
        if first != second:
            assert scaled[key]["cosine"] == math.copysign(1, scale) * row["cosine"]
            assert scaled[key]["norm_second"] == abs(scale) * row["norm_second"]


@pytest.mark.parametrize("chunk", [1, kernels.TILE + 1, 3 * kernels.TILE])
@pytest.mark.parametrize("threads", [1, 3])
def test_runs_and_threads_change_no_bit(tmp_path, chunk, threads):
    pairs = random_pairs(tmp_path)
    assert geometry.compare(pairs, chunk=chunk, threads=threads) == geometry.compare(pairs)


def test_files_and_dtypes_of_pairs_may_differ(tiny_pair):
    exact = [Checkpoint(end) for end in tiny_pair()]
    sharded = [Checkpoint(end) for end in tiny_pair(shard="20KB")]
    rounded = [Checkpoint(end) for end in tiny_pair(torch.bfloat16)]
    for row in geometry.compare({"exact": exact, "sharded": sharded, "rounded": rounded}):
        assert row["cosine"] > (0.5 if "rounded" in (row["first"], row["second"]) else 1 - 1e-15)


def test_tied_weights_count_once_and_whole_numbers_not_at_all(tmp_path):
    pairs = {}
    for i, key in enumerate("ab"):
        ends = []
        for end in (0, 1):
            tensors = random_tensors(10 * i + end)
            tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
            tensors["ids"] = torch.arange(5) + end
            tied = {"tie_word_embeddings": True}
            ends.append(checkpoint(tmp_path / key / str(end), tensors, tied))
        pairs[key] = tuple(ends)
    rows = geometry.compare(pairs)
    assert {row["group"] for row in rows} == {"embedding", "attention", "feed_forward", "norm"}
    assert sum(row["entries"] for row in rows if row["first"] == row["second"] == "a") == sum(
        math.prod(shape) for shape in SHAPES.values()
    )


def test_a_delta_of_zero_has_no_direction(tmp_path):
    pairs = random_pairs(tmp_path, "ab")
    still = pairs["a"][0]
    for row in geometry.compare({**pairs, "still": (still, still)}):
        is_still = "still" in (row["first"], row["second"])
        assert math.isnan(row["cosine"]) is is_still
        assert (row["dot"] == 0) is is_still
        assert not is_still or row["norm_second"] == 0


def test_rows_that_one_pair_adds_are_left_out(tmp_path, caplog):
    name = "model.embed_tokens.weight"
    pairs = random_pairs(tmp_path, "ab")
    grown = []
    for i, end in enumerate(pairs["b"]):
        tensors = {n: end.tensor(n) for n in SHAPES}
        tensors[name] = torch.cat([tensors[name], torch.full((2 + i, 6), 100.0)])
        grown.append(checkpoint(tmp_path / "grown" / str(i), tensors))
    expected = geometry.compare(pairs)
    with caplog.at_level("INFO"):
        assert geometry.compare({"a": pairs["a"], "b": tuple(grown)}) == expected
    assert f"{name}: compared in the first 11 rows" in caplog.text
    caplog.clear()
    reverse = geometry.compare({"b": tuple(grown), "a": pairs["a"]})
    assert reverse == geometry.compare({"b": pairs["b"], "a": pairs["a"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.norm.weight": None}, r"lacks 'model\.norm\.weight'; deltas are compared"),
        ({"extra": (3,)}, r"lacks 'extra'; deltas are compared"),
        ({"model.norm.weight": (7,)}, r"'model\.norm\.weight' is \[6\] in one, \[7\] in the other"),
        ({"model.embed_tokens.weight": (11, 7)}, r"is \[11, 6\] in one, \[11, 7\] in the other"),
    ],
)
def test_models_of_other_architectures_are_refused_in_one_line(tmp_path, change, message):
    shapes = {name: shape for name, shape in {**SHAPES, **change}.items() if shape}
    other = checkpoint(tmp_path / "other", random_tensors(5, shapes=shapes))
    pairs = {**random_pairs(tmp_path, "a"), "other": (other, other)}
    with pytest.raises(UserError, match=message) as refused:
        geometry.compare(pairs)
    assert "\n" not in str(refused.value)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    pairs = random_pairs(tmp_path, "ab")
    tensors = random_tensors(3)
    tensors["model.norm.weight"][3] = float("nan")
    broken = pairs["b"][0], checkpoint(tmp_path / "broken", tensors)
    with pytest.raises(UserError, match=r"broken: 'model\.norm\.weight' holds NaN"):
        geometry.compare({"a": pairs["a"], "b": broken})


MEASURE = r"""
import pathlib, re, sys
from deltaedit import geometry
from deltaedit.checkpoints import Checkpoint
def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
def pairs(folder):
    return {name: (Checkpoint(f"{folder}/base"), Checkpoint(f"{folder}/post{i % 2}"))
            for i, name in enumerate("abcdefghij")}
geometry.compare(pairs(sys.argv[1]), threads=2)
before = peak()
geometry.compare(pairs(sys.argv[2]), threads=2)
print(peak() - before)
"""


def test_ten_deltas_of_a_larger_model_need_no_more_memory(tmp_path):
    size = 1 << 22  # sixteen runs; a tensor of it has 16 MiB
    for folder, entries in (("small", geometry.CHUNK), ("large", size)):
        for end in ("base", "post0", "post1"):
            tensors = {f"model.layers.{i}.mlp.w.weight": torch.rand(entries) for i in range(4)}
            checkpoint(tmp_path / folder / end, tensors)
    command = [sys.executable, "-c", MEASURE, tmp_path / "small", tmp_path / "large"]
    path = str(ROOT / "workflow" / "scripts")
    run = subprocess.run(
        command, env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 4 * size / 2, "half a tensor, of ten that are compared"


# In the config


def compared(comparison, figure=None):
    config = copy.deepcopy(yaml.safe_load((ROOT / "config.yaml").read_text()))
    config["comparisons"] = {"deltas": comparison}
    if figure is not None:
        config["figures"] = {"similar": figure}
    return config


def check(config, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(config))
    configuration.check(config, [file], ROOT)
    return config


PAIRS = ["demo_lm", "demo_lm_early"]
MAP = {"kind": "cosine_map", "comparison": "deltas"}


def test_a_comparison_is_one_file_that_its_figure_draws(tmp_path):
    config = check(compared(PAIRS, MAP), tmp_path)
    file = "results/comparisons/deltas.parquet"
    assert study.comparisons(config) == [file]
    assert study.drawn(config, config["figures"]["similar"], cosine_map.MEASURES) == [file]


def test_a_study_without_comparisons_has_none(tmp_path):
    config = compared(PAIRS)
    del config["comparisons"]
    config["figures"] = {}
    assert study.comparisons(check(config, tmp_path)) == []


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "comparisons.deltas: is empty; a list of two pairs or more"),
        (["demo_lm"], "comparisons.deltas: got ['demo_lm'], must be a list of two pairs or more"),
        (
            ["demo_lm", "demo_lm"],
            "comparisons.deltas: ['demo_lm', 'demo_lm'] names something twice",
        ),
        (["demo_lm", "demo_ml"], "comparisons.deltas: unknown pair 'demo_ml'. Did you mean"),
        (
            ["demo_lm", "demo_digits"],
            "comparisons.deltas: 'demo_lm' is a causal_lm pair, 'demo_digits' a clip pair; deltas",
        ),
    ],
)
def test_pairs_that_cannot_be_compared_are_refused(tmp_path, pairs, message):
    ends = {
        end: {"source": "demo", "world": "vision", "stage": stage}
        for end, stage in (("base", "pretrained"), ("post", "digits"))
    }
    config = compared(pairs)
    config["pairs"]["demo_digits"] = {"kind": "clip", **ends}
    with pytest.raises(configuration.ConfigError) as refused:
        check(config, tmp_path)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ({"kind": "cosine_map"}, "figures.similar: 'comparison' is missing; cosine_map draws one"),
        ({**MAP, "comparison": "delta"}, "figures.similar.comparison: unknown comparison 'delta'."),
        ({**MAP, "pair": "demo_lm"}, "figures.similar: 'pair' does not belong to cosine_map"),
        ({**MAP, "sweeps": ["expo"]}, "figures.similar: 'sweeps' does not belong to cosine_map"),
        ({**MAP, "suite": "demo"}, "figures.similar: 'suite' does not belong to cosine_map"),
        (
            {"kind": "loss_terms", "loss": "demo_math"},
            "figures.similar: 'pair' is missing; loss_terms draws one",
        ),
        (
            {"kind": "loss_terms", "pair": "demo_lm", "loss": "demo_math", "comparison": "deltas"},
            "figures.similar: 'comparison' does not belong to loss_terms",
        ),
    ],
)
def test_a_figure_has_a_comparison_or_a_pair(tmp_path, figure, message):
    with pytest.raises(configuration.ConfigError) as refused:
        check(compared(PAIRS, figure), tmp_path)
    assert message in str(refused.value)


def test_the_record_of_a_comparison_has_one_of_each_pair(tmp_path):
    one = {"layer": None, "group": "norm", "first": "a", "second": "b", "cosine": 0.5}
    ends = {end: {"source": "path", "path": end, "sha256": end} for end in ("base", "post")}
    record = {"pairs": [{"pair": pair, **ends, "versions": {}, "commit": "c"} for pair in "ab"]}
    file = tmp_path / "deltas.parquet"
    results.write_parquet(file, [one], record)
    table = results.read([file])
    assert str(table["layer"].dtype) == "Int64"
    assert table["cosine"].tolist() == [0.5]
    assert [(end.pair, end.end) for end in origins.ends(origins.read([file]), {})] == [
        (pair, end) for pair in "ab" for end in ("base", "post")
    ]
    assert np.array_equal(origins.settings(origins.read([file]))["results"], ["2 of a and b"])
