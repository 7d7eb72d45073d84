"""A vision tower becomes a whole CLIP with the other parts of its base, or is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPVisionModel

from deltaedit.checkpoints import Checkpoint, check_match
from deltaedit.download import SourceError, download

PREFIX = "vision_model."
SIZES = dict(hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2)


def make_clip(seed):
    torch.manual_seed(seed)
    text = dict(SIZES, vocab_size=20, max_position_embeddings=8, bos_token_id=0, eos_token_id=1)
    images = dict(SIZES, image_size=8, patch_size=4)
    return CLIPModel(CLIPConfig(text_config=text, vision_config=images, projection_dim=4))


def weights(folder):
    return {
        name: tensor
        for file in folder.glob("*.safetensors")
        for name, tensor in load_file(file).items()
    }


@pytest.fixture
def base(tmp_path):
    """Save a CLIP as old versions of transformers did, with the indices of positions."""
    folder = tmp_path / "base"
    make_clip(0).save_pretrained(folder)
    indices = {f"{PREFIX}embeddings.position_ids": torch.arange(5)[None]}
    save_file(weights(folder) | indices, folder / "model.safetensors", {"format": "pt"})
    (folder / "preprocessor_config.json").write_text("{}")
    (folder / "provenance.json").write_text("{}")
    return folder


@pytest.fixture
def tower(tmp_path):
    """Return a function that saves a vision tower, changed, and names it as a source."""

    def save(change=lambda tensors: None, seed=1):
        folder = tmp_path / "tower"
        CLIPVisionModel(make_clip(0).config.vision_config).save_pretrained(folder)
        tensors = {
            name: tensor
            for name, tensor in make_clip(seed).state_dict().items()
            if name.startswith(PREFIX)
        }
        change(tensors)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return {"source": "path", "path": str(folder)}

    return save


def drop_prefix(tensors):
    for name in list(tensors):
        tensors[name.removeprefix(PREFIX)] = tensors.pop(name)


def add_indices(tensors):
    tensors[f"{PREFIX}embeddings.position_ids"] = torch.arange(5)[None] + 7


@pytest.mark.parametrize("change", [lambda tensors: None, drop_prefix, add_indices])
def test_a_tower_takes_the_other_parts_of_its_base(base, tower, tmp_path, change):
    target = tmp_path / "models" / "post"
    source = tower(change)
    given = (tmp_path / "tower" / "model.safetensors").read_bytes()
    download(source, target, base=base)
    ours, theirs = weights(target), weights(base)
    assert ours.keys() == theirs.keys()
    expected = make_clip(1).state_dict()
    for name, tensor in ours.items():
        is_tower = name.startswith(PREFIX) and "position_ids" not in name
        assert torch.equal(tensor, (expected if is_tower else theirs)[name]), name
    check_match(Checkpoint(base), Checkpoint(target))
    CLIPModel.from_pretrained(target)
    names = {"config.json", "preprocessor_config.json", "model.safetensors", "provenance.json"}
    assert {file.name for file in target.iterdir()} == names
    assert (target / "config.json").read_bytes() == (base / "config.json").read_bytes()
    assert json.loads((target / "provenance.json").read_text()).keys() == {*source, "sha256"}
    assert (tmp_path / "tower" / "model.safetensors").read_bytes() == given
    assert list(target.parent.iterdir()) == [target]


def test_a_base_in_shards_gives_a_post_in_shards(base, tower, tmp_path):
    shards, target = tmp_path / "shards", tmp_path / "models" / "post"
    CLIPModel.from_pretrained(base).save_pretrained(shards, max_shard_size="10KB")
    download(tower(), target, base=shards)
    files = {file.name for file in shards.iterdir()}
    assert {file.name for file in target.iterdir()} == {*files, "provenance.json"}
    found = CLIPModel.from_pretrained(target).vision_model.state_dict()
    for name, tensor in make_clip(1).vision_model.state_dict().items():
        assert torch.equal(found[name], tensor)


def test_a_whole_clip_is_taken_as_it_is(base, tmp_path):
    given, target = tmp_path / "given", tmp_path / "models" / "post"
    make_clip(1).save_pretrained(given)
    download({"source": "path", "path": str(given)}, target, base=base)
    for file in given.iterdir():
        assert (target / file.name).read_bytes() == file.read_bytes()
    assert {file.name for file in target.iterdir()} - {file.name for file in given.iterdir()} == {
        "provenance.json"
    }


NORM = f"{PREFIX}post_layernorm.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(NORM), f"'{NORM}' is missing, in base float32 [8];"),
        (
            lambda t: t.update({"visual_projection.weight": torch.zeros(4, 8)}),
            "'visual_projection.weight' is float32 [4, 8], in base missing;",
        ),
        (
            lambda t: t.update({NORM: torch.zeros(9)}),
            f"'{NORM}' is float32 [9], in base float32 [8];",
        ),
        (
            lambda t: t.update({name: tensor.half() for name, tensor in t.items()}),
            "'vision_model.embeddings.class_embedding' is float16 [8], in base float32 [8] (and",
        ),
    ],
    ids=["missing", "extra", "shape", "dtype"],
)
def test_a_tower_that_does_not_fit_is_refused(base, tower, tmp_path, change, message):
    target = tmp_path / "models" / "post"
    with pytest.raises(SourceError) as refusal:
        download(tower(change), target, base=base)
    text = str(refusal.value)
    assert text.startswith(f"path {tmp_path / 'tower'}: its vision tower does not fit {base}: ")
    assert message in text
    assert "name a tower that was trained from this base" in text
    assert "\n" not in text
    assert list(target.parent.iterdir()) == []


def test_a_tower_is_joined_to_a_whole_clip_only(tower, tmp_path):
    source, target = tower(), tmp_path / "models" / "post"
    with pytest.raises(SourceError, match="is no CLIP to join it to"):
        download(source, target, base=tmp_path / "tower")
    assert list(target.parent.iterdir()) == []
