"""Edited checkpoints: exact at the ends, the same bytes in any order, complete and labelled."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from deltaedit import delta as deltas
from deltaedit import edits
from deltaedit.checkpoints import Checkpoint, generator_for
from deltaedit.edit import Sources, model_card, write_variants
from deltaedit.errors import UserError

FAST = {  # each method with options under which every kind of reading is needed
    "bitdelta": {"blocks": 4},
    "breadcrumbs": {"drop_rate": 0.5, "outliers": 0.1},
    "combine": {
        "weights": [1.5],
        "edit": {"method": "della", "drop_rate": 0.5, "window": 0.2, "rescale": "l1"},
    },
    "dare": {"drop_rate": 0.5, "rescale": "l1"},
    "della": {"drop_rate": 0.5, "window": 0.2},
    "expo": {"alpha": 0.3},
    "low_rank": {"rank": 3},
    "ties": {"drop_rate": 0.5},
}


@pytest.fixture
def edit(tmp_path_factory):
    """Return a function that edits a pair in several ways at once and returns the folders."""

    def run(pair, *variants, tensors="all", threads=2, chunk=1 << 18, **sources):
        base, post = (Checkpoint(end) for end in pair)
        root = tmp_path_factory.mktemp("edit")
        specs, folders = [], []
        for i, (method, seed, options) in enumerate(variants):
            specs.append(
                {
                    "name": "it",
                    "method": method,
                    "options": options,
                    "tensors": tensors,
                    "seed": seed,
                }
            )
            folders.append(root / str(i))
            folders[-1].mkdir()
        sources = Sources(base=base, post=post, **sources)
        record = {"pair": "tiny", "commit": "abc"}
        write_variants(sources, specs, folders, record, threads=threads, chunk=chunk)
        return folders

    return run


def tensors(folder):
    checkpoint = Checkpoint(folder)
    return {name: checkpoint.tensor(name) for name in sorted(checkpoint.tensors)}


def bits(tensor):
    return tensor.contiguous().view(-1).view(torch.uint8)


def same(a, b):
    """Whether two folders hold the same tensors to the bit."""
    a, b = tensors(a), tensors(b)
    return a.keys() == b.keys() and all(torch.equal(bits(a[name]), bits(b[name])) for name in a)


DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_alpha_zero_is_post_and_minus_one_is_base(tiny_pair, edit, dtype):
    base, post = tiny_pair(dtype)
    zero, minus = edit((base, post), ("expo", 0, {"alpha": 0.0}), ("expo", 0, {"alpha": -1.0}))
    assert same(zero, post)
    assert same(minus, base)


def test_the_ends_are_exact_where_float32_cannot_hold_the_difference(tmp_path, edit):
    draw = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        scale = 10 ** torch.empty(200, 50).uniform_(-6, 4, generator=draw)
        root = tmp_path / str(dtype)
        for end, flipped in (("base", scale), ("post", scale.flip(0))):
            (root / end).mkdir(parents=True)
            numbers = (torch.randn(200, 50, generator=draw) * flipped).to(dtype)
            numbers[0, 0] = -0.0 if end == "base" else 3.0
            save_file({"w": numbers}, root / end / "model.safetensors")
        pair = root / "base", root / "post"
        zero, minus = edit(pair, ("expo", 0, {"alpha": 0.0}), ("expo", 0, {"alpha": -1.0}))
        assert same(zero, pair[1])
        assert same(minus, pair[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_edit_is_computed_in_float32_and_rounded_once(tiny_pair, edit, dtype):
    base, post = tiny_pair(dtype)
    (out,) = map(tensors, edit((base, post), ("expo", 0, {"alpha": 0.3})))
    before, after = tensors(base), tensors(post)
    for name in out:
        w = before[name].float()
        wanted = (w + (after[name].float() - w) * torch.tensor(1.3)).to(dtype)
        assert torch.equal(out[name], torch.where(after[name] == before[name], after[name], wanted))


@pytest.mark.parametrize("method", FAST)
def test_the_streamed_edit_is_that_of_the_whole_tensor(tiny_pair, edit, method):
    base, post = tiny_pair()
    (out,) = map(tensors, edit((base, post), (method, 7, FAST[method]), chunk=100))
    module, params = edits.parse(method, FAST[method])
    before, after = tensors(base), tensors(post)
    for name in out:
        difference = after[name] - before[name]
        whole = module.apply(difference, params, rng=generator_for(7, name))
        wanted = torch.where(whole == 0, before[name], before[name] + whole)
        assert torch.equal(out[name], torch.where(whole == difference, after[name], wanted))


@pytest.mark.parametrize("method", FAST)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_neither_chunks_nor_threads_nor_shards_nor_company_matter(tiny_pair, edit, method, dtype):
    variant = (method, 0, FAST[method])
    (alone,) = edit(tiny_pair(dtype), variant, threads=1)
    (chunks,) = edit(tiny_pair(dtype), variant, chunk=77, threads=2)
    shards, company = edit(tiny_pair(dtype, shard="20KB"), variant, variant, threads=3)
    assert len(list(shards.glob("*.safetensors"))) > 1
    assert same(alone, chunks)
    assert same(alone, shards)
    assert same(alone, company)


def test_variants_made_together_are_those_made_alone(tiny_pair, edit):
    pair = tiny_pair(torch.bfloat16)
    variants = [("bitdelta", 0, {"blocks": blocks}) for blocks in (1, 2, 16)]
    together = edit(pair, *variants, chunk=500)
    assert all(
        same(folder, *edit(pair, variant))
        for folder, variant in zip(together, variants, strict=True)
    )


def test_tied_weights_are_edited_once_and_stay_tied(tiny_pair, edit):
    (folder,) = edit(tiny_pair(tied=True), ("dare", 0, {"drop_rate": 0.5}))
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


# --- which tensors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selection", "edited"),
    [
        ("all", {"embed", "q_proj", "down_proj", "norm", "lm_head"}),
        ("matrices", {"embed", "q_proj", "down_proj", "lm_head"}),
        ("linear", {"q_proj", "down_proj"}),
        (["*.mlp.*", "model.norm.weight"], {"down_proj", "norm"}),
    ],
)
def test_tensors_that_are_not_selected_are_those_of_post(tiny_pair, edit, selection, edited):
    base, post = tiny_pair()
    (out,) = map(tensors, edit((base, post), ("expo", 0, {"alpha": -1.0}), tensors=selection))
    before, after = tensors(base), tensors(post)
    names = {
        "embed": "model.embed_tokens.weight",
        "q_proj": "model.layers.1.self_attn.q_proj.weight",
        "down_proj": "model.layers.0.mlp.down_proj.weight",
        "norm": "model.norm.weight",
        "lm_head": "lm_head.weight",
    }
    for part, name in names.items():
        assert torch.equal(out[name], (before if part in edited else after)[name]), part


def test_a_selection_of_nothing_is_refused(tiny_pair, edit):
    with pytest.raises(UserError, match=r"no tensor is selected by \['\*\.experts\.\*'\]"):
        edit(tiny_pair(), ("expo", 0, {"alpha": 0.5}), tensors=["*.experts.*"])


def test_tensors_that_are_not_floating_point_are_those_of_post(tmp_path, edit):
    for end, step in (("base", 0), ("post", 1)):
        (tmp_path / end).mkdir()
        stored = {
            "w": torch.ones(3) + step,
            "ids": torch.arange(3) + step,
            "none": torch.ones(0, 4),
        }
        save_file(stored, tmp_path / end / "model.safetensors")
    (out,) = map(
        tensors, edit((tmp_path / "base", tmp_path / "post"), ("expo", 0, {"alpha": -1.0}))
    )
    assert out["ids"].tolist() == [1, 2, 3]
    assert out["w"].tolist() == [1, 1, 1]
    assert out["none"].shape == (0, 4)


@pytest.mark.parametrize("method", FAST)
def test_rows_that_post_adds_are_those_of_post(tiny_pair, edit, tmp_path, method):
    base, post = tiny_pair()
    longer, name = tmp_path / "post", "model.embed_tokens.weight"
    longer.mkdir()
    stored = load_file(post / "model.safetensors")
    added = torch.full((3, 16), 5.0)
    stored |= {name: torch.cat([stored[name], added])}
    save_file(stored, longer / "model.safetensors")
    variant = (method, 0, FAST[method])
    (out,) = edit((base, longer), variant, chunk=100)
    (plain,) = edit((base, post), variant)
    assert torch.equal(tensors(out)[name], torch.cat([tensors(plain)[name], added]))
    assert Checkpoint(out).record()["rows_from_post"] == {name: 3}
    assert '"rows_from_post"' in (out / "README.md").read_text()


# --- what else methods take -----------------------------------------------------------------------


def test_ties_over_the_model_keeps_the_largest_of_all_tensors(tiny_pair, edit):
    base, post = tiny_pair()
    options = {"drop_rate": 0.9, "over": "model"}
    (out,) = map(tensors, edit((base, post), ("ties", 0, options), chunk=100))
    before, after = tensors(base), tensors(post)
    magnitude = {name: (after[name] - before[name]).abs() for name in after}
    every = torch.cat([m.flatten() for m in magnitude.values()]).sort().values
    threshold = every[int(0.9 * len(every)) - 1]  # the authors keep those that equal it
    for name in out:
        kept = magnitude[name] >= threshold
        assert torch.equal(out[name], torch.where(kept, after[name], before[name]))


def test_biased_by_product_reads_the_gradient(tiny_pair, edit, tmp_path):
    base, post = tiny_pair()
    before, after = tensors(base), tensors(post)
    gradient = {name: torch.randn(t.shape) for name, t in after.items() if "norm" not in name}
    save_file(gradient, tmp_path / "gradient.safetensors")
    options = {"by": "product", "dropped_scale": 0.0, "drop_rate": 0.0}
    (out,) = edit((base, post), ("biased", 0, options), chunk=100, gradient=Checkpoint(tmp_path))
    for name, edited in tensors(out).items():
        step = (after[name] - before[name]) * gradient.get(name, torch.zeros(1))
        assert torch.equal(edited, torch.where(step < 0, before[name], after[name]))


@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_stored_vectors_give_the_same_low_rank_model(tiny_pair, edit, tmp_path, sparsity):
    pair = tiny_pair()
    deltas.decompose(*map(Checkpoint, pair), tmp_path)
    stored = Checkpoint(tmp_path)
    assert stored.tensors["model.embed_tokens.weight"].shape == (16, 16)
    variant = ("low_rank", 0, {"sparsity": sparsity})
    (known,) = edit(pair, variant, variant, tensors="matrices", vectors=stored)[1:]
    (alone,) = edit(pair, variant, tensors="matrices")
    assert same(known, alone)


def test_deltas_of_several_pairs_go_onto_another_base(tiny_pair, edit):
    pair, other = tiny_pair(torch.bfloat16), tiny_pair(torch.bfloat16, seed=1)
    onto = tiny_pair(torch.bfloat16, seed=2)[0]
    (out,) = edit(
        pair,
        ("combine", 0, {"weights": [0.5, 2.0]}),
        chunk=100,
        deltas=[tuple(map(Checkpoint, other))],
        onto=Checkpoint(onto),
    )
    ends = [{name: t.float() for name, t in tensors(end).items()} for end in (*pair, *other, onto)]
    for name, combined in tensors(out).items():
        base, post, base2, post2, new = (end[name] for end in ends)
        wanted = new + (0.5 * (post - base) + 2 * (post2 - base2))
        assert torch.equal(combined, wanted.bfloat16())


def test_a_pair_of_another_architecture_is_refused(tiny_pair, edit, tmp_path):
    pair = tiny_pair()
    stored = load_file(pair[0] / "model.safetensors")
    stored["lm_head.weight"] = stored["lm_head.weight"][:-1].clone()
    save_file(stored, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"'lm_head\.weight' is"):
        edit(pair, ("combine", 0, {}), onto=Checkpoint(tmp_path))


def test_methods_side_by_side_write_what_each_alone_writes(tiny_pair, edit, tmp_path):
    pair, other = tiny_pair(), tiny_pair(seed=1)
    save_file(tensors(other[0]), tmp_path / "model.safetensors")
    sources = {
        "gradient": Checkpoint(tmp_path),
        "deltas": [tuple(map(Checkpoint, other))],
    }
    mixed = [
        ("ties", 0, {"drop_rate": 0.5}),
        ("biased", 0, {"by": "product"}),
        ("low_rank", 0, {"rank": 3}),
        ("combine", 0, {"weights": [0.5, 2.0]}),
        ("ties", 0, {"drop_rate": 0.9}),
    ]
    for variant, folder in zip(mixed, edit(pair, *mixed, **sources), strict=True):
        assert same(folder, *edit(pair, variant, **sources)), variant


# --- what is written ------------------------------------------------------------------------------


def test_a_variant_loads_and_says_what_it_is(tiny_pair, edit):
    pair = tiny_pair(shard="20KB")
    (folder,) = edit(pair, ("dare", 3, {"drop_rate": 0.5}))
    AutoModelForCausalLM.from_pretrained(folder)
    assert len(AutoTokenizer.from_pretrained(folder)) == len(AutoTokenizer.from_pretrained(pair[1]))
    with safe_open(sorted(folder.glob("*.safetensors"))[0], framework="pt") as file:
        record = json.loads(file.metadata()["deltaedit"])
    assert record == Checkpoint(folder).record()
    assert record == {
        "method": "dare",
        "options": {"drop_rate": 0.5, "dropped_scale": 0.0, "rescale": True},
        "tensors": "all",
        "seed": 3,
        "pair": "tiny",
        "commit": "abc",
    }
    card = (folder / "README.md").read_text()
    assert "drop_rate = 0.5" in card
    assert '"seed": 3' in card
    assert {"config.json", "generation_config.json", "tokenizer.json"} <= {
        file.name for file in folder.iterdir()
    }


def test_a_method_written_in_torch_needs_no_more_than_apply(tiny_pair, edit, tmp_path, monkeypatch):
    (tmp_path / "halve.py").write_text(
        """
from dataclasses import dataclass

@dataclass(frozen=True, kw_only=True)
class Params:
    power: int = 1

EXAMPLE = Params()

def apply(delta, params, *, rng):
    return delta / 2**params.power
"""
    )
    monkeypatch.setattr(edits, "__path__", [*edits.__path__, str(tmp_path)])
    monkeypatch.setattr(edits, "NAMES", edits.registry.names(edits.__path__))
    pair = tiny_pair()
    half, quarter = edit(pair, ("halve", 0, {}), ("halve", 0, {"power": 2}), chunk=100)
    assert same(half, *edit(pair, ("expo", 0, {"alpha": -0.5})))
    assert same(quarter, *edit(pair, ("expo", 0, {"alpha": -0.75})))


def test_a_model_card_says_which_base_took_the_delta():
    record = {"method": "combine", "options": {}, "pair": "old", "tensors": "all", "seed": 0}
    assert "added to the pretrained weights again" in model_card("it", record)
    assert "added to another base" in model_card("it", {**record, "onto": {"source": "path"}})
