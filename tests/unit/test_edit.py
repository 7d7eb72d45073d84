"""Edited checkpoints: exact at the ends, the same bytes in any sharding, complete and labelled."""

import json

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from deltaedit import edits
from deltaedit.checkpoints import Checkpoint, generator_for
from deltaedit.delta import Delta, extract
from deltaedit.edit import write_variant


@pytest.fixture
def edit(tmp_path_factory):
    """Return a function that edits a pair and returns the variant's folder."""

    def run(pair, method, seed=0, **options):
        base, post = (Checkpoint(end) for end in pair)
        root = tmp_path_factory.mktemp("edit")
        (root / "delta").mkdir()
        (root / "variant").mkdir()
        extract(base, post, root / "delta")
        variant = {"name": "it", "method": method, "options": options, "seed": seed}
        record = {"pair": "tiny", "commit": "abc"}
        write_variant(base, post, Delta(root / "delta"), variant, root / "variant", record)
        return root / "variant"

    return run


def tensors(folder):
    checkpoint = Checkpoint(folder)
    return {name: checkpoint.tensor(name) for name in sorted(checkpoint.tensors)}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_alpha_zero_is_post_and_minus_one_is_base(tiny_pair, edit, dtype):
    base, post = tiny_pair(dtype)
    assert same(tensors(edit((base, post), "expo", alpha=0.0)), tensors(post))
    assert same(tensors(edit((base, post), "expo", alpha=-1.0)), tensors(base))


def test_the_edit_is_computed_in_float32_and_rounded_once(tiny_pair, edit):
    base, post = tiny_pair(torch.bfloat16)
    out, before, after = (tensors(x) for x in (edit((base, post), "expo", alpha=0.3), base, post))
    for name in out:
        w = before[name].float()
        wanted = (w + (after[name].float() - w) * 1.3).bfloat16()
        assert torch.equal(out[name], wanted)


def test_the_sharding_of_the_checkpoint_does_not_matter(tiny_pair, edit):
    whole = edit(tiny_pair(), "dare", drop_rate=0.5)
    parts = edit(tiny_pair(shard="20KB"), "dare", drop_rate=0.5)
    assert len(list(parts.glob("*.safetensors"))) > 1
    assert same(tensors(whole), tensors(parts))


def test_each_tensor_has_its_own_stream(tiny_pair, edit):
    base, post = tiny_pair()
    out, before, after = (
        tensors(x) for x in (edit((base, post), "dare", seed=7, drop_rate=0.5), base, post)
    )
    module, params = edits.parse("dare", {"drop_rate": 0.5})
    for name in out:
        delta = after[name] - before[name]
        wanted = module.apply(delta, params, rng=generator_for(7, name))
        torch.testing.assert_close(out[name], before[name] + wanted)


def test_tied_weights_are_edited_once_and_stay_tied(tiny_pair, edit):
    model = AutoModelForCausalLM.from_pretrained(edit(tiny_pair(tied=True), "dare", drop_rate=0.5))
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


def test_a_variant_loads_and_says_what_it_is(tiny_pair, edit):
    pair = tiny_pair(shard="20KB")
    folder = edit(pair, "dare", seed=3, drop_rate=0.5)
    AutoModelForCausalLM.from_pretrained(folder)
    assert len(AutoTokenizer.from_pretrained(folder)) == len(AutoTokenizer.from_pretrained(pair[1]))
    with safe_open(sorted(folder.glob("*.safetensors"))[0], framework="pt") as file:
        record = json.loads(file.metadata()["deltaedit"])
    options = {"drop_rate": 0.5, "dropped_scale": 0.0, "rescale": True}
    assert record == {
        "method": "dare",
        "options": options,
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
