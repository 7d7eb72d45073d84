"""Checkpoints are read and written tensor by tensor, in any sharding."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from deltaedit.checkpoints import Checkpoint, check_match, content_digest, write_tensors
from deltaedit.errors import UserError


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shard", [None, "20KB"])
def test_a_copy_is_the_same_model(tiny_pair, tmp_path, dtype, shard):
    base, _ = tiny_pair(dtype, shard)
    checkpoint = Checkpoint(base)
    write_tensors(tmp_path, checkpoint.layout(), checkpoint.tensor, metadata={"k": "v"})
    (tmp_path / "config.json").write_text((base / "config.json").read_text())
    original = AutoModelForCausalLM.from_pretrained(base).state_dict()
    copy = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert original.keys() == copy.keys()
    assert all(torch.equal(original[name], copy[name]) for name in original)
    assert (shard is not None) == (tmp_path / "model.safetensors.index.json").exists()


def test_every_stored_type_survives(tmp_path):
    tensors = {
        "a": torch.arange(6).reshape(2, 3),
        "b": torch.tensor([True, False]),
        "c": torch.tensor(1.5),
        "d": torch.zeros(0, 4),
        "e": torch.randn(3, 5).to(torch.float8_e4m3fn),
        "f": torch.randn(4, dtype=torch.float64).t(),
    }
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    save_file(tensors, tmp_path / "in" / "model.safetensors")
    checkpoint = Checkpoint(tmp_path / "in")
    write_tensors(tmp_path / "out", checkpoint.layout(), checkpoint.tensor, metadata={})
    copy = load_file(tmp_path / "out" / "model.safetensors")
    for name, tensor in tensors.items():
        assert copy[name].dtype == tensor.dtype
        assert copy[name].shape == tensor.shape
        assert torch.equal(copy[name].double(), tensor.double())


def test_a_stored_tie_is_one_tensor(tiny_pair, tmp_path):
    base, _ = tiny_pair(tied=True)
    tensors = load_file(base / "model.safetensors")
    assert "lm_head.weight" not in tensors
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, tmp_path / "model.safetensors")
    config = json.loads((base / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "lm_head.weight" not in Checkpoint(tmp_path).tensors
    check_match(Checkpoint(base), Checkpoint(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    assert "lm_head.weight" in Checkpoint(tmp_path).tensors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.norm.weight"), "post lacks 'model.norm.weight'"),
        (lambda t: t.update(extra=torch.ones(2)), "base lacks 'extra'"),
        (
            lambda t: t.update({"model.norm.weight": torch.ones(17)}),
            r"'model.norm.weight' is \[16\] in base, \[17\] in post",
        ),
        (
            lambda t: t.update({"model.norm.weight": torch.ones(16, dtype=torch.bfloat16)}),
            "'model.norm.weight' is float32 in base, bfloat16 in post",
        ),
    ],
)
def test_a_pair_that_does_not_match_is_refused(tiny_pair, tmp_path, change, message):
    base, post = tiny_pair()
    tensors = load_file(post / "model.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=message) as refusal:
        check_match(Checkpoint(base), Checkpoint(tmp_path))
    assert "\n" not in str(refusal.value)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(UserError, match="no safetensors file"):
        Checkpoint(tmp_path)


def test_parts_cover_the_common_architectures():
    from deltaedit.parts import part_of

    expected = {
        "model.embed_tokens.weight": (None, "embedding"),
        "model.layers.11.self_attn.q_proj.weight": (11, "attention"),
        "model.layers.3.mlp.down_proj.weight": (3, "feed_forward"),
        "model.layers.3.input_layernorm.weight": (3, "norm"),
        "model.layers.0.self_attn.q_norm.weight": (0, "norm"),
        "model.norm.weight": (None, "norm"),
        "lm_head.weight": (None, "head"),
        "transformer.h.7.attn.c_attn.weight": (7, "attention"),
        "transformer.h.7.mlp.c_fc.weight": (7, "feed_forward"),
        "transformer.h.7.ln_1.bias": (7, "norm"),
        "transformer.wte.weight": (None, "embedding"),
        "gpt_neox.layers.2.attention.dense.weight": (2, "attention"),
        "gpt_neox.embed_out.weight": (None, "head"),
        "vision_model.encoder.layers.4.mlp.fc1.weight": (4, "feed_forward"),
        "vision_model.embeddings.patch_embedding.weight": (None, "embedding"),
        "vision_model.pre_layrnorm.weight": (None, "norm"),
        "vit.encoder.layer.5.attention.attention.query.weight": (5, "attention"),
        "vit.encoder.layer.5.intermediate.dense.weight": (5, "feed_forward"),
        "visual_projection.weight": (None, "head"),
        "classifier.weight": (None, "head"),
    }
    assert {name: tuple(part_of(name)) for name in expected} == expected


def test_the_content_digest_sees_weights_and_config_and_nothing_else(tiny_pair, tmp_path):
    base, post = tiny_pair()
    tensors = load_file(base / "model.safetensors")
    copy = tmp_path / "copy"
    shutil.copytree(base, copy)
    save_file(tensors, copy / "model.safetensors", metadata={"commit": "another"})
    (copy / "README.md").write_text("another")
    (copy / ".snakemake_timestamp").touch()
    assert content_digest(copy) == content_digest(base) != content_digest(post)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    assert content_digest(copy) != content_digest(base)
    shutil.copy(base / "config.json", copy / "config.json")
    tensors["model.norm.weight"][3] += 1
    save_file(tensors, copy / "model.safetensors")
    assert content_digest(copy) != content_digest(base)
