"""The stored delta is exact, and its statistics are those of the tensors."""

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from deltaedit.checkpoints import Checkpoint
from deltaedit.delta import Delta, extract
from deltaedit.errors import UserError


def checkpoint(folder, tensors):
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    return Checkpoint(folder)


def bits(tensor):
    return tensor.contiguous().view(torch.uint8)


def extracted(tmp_path, base, post):
    (tmp_path / "delta").mkdir()
    extract(base, post, tmp_path / "delta")
    return Delta(tmp_path / "delta")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_base_plus_delta_is_post_to_the_bit(tmp_path, dtype):
    # Magnitudes from 1e-6 to 1e4, both signs, -0, and steps far larger and far smaller than the
    # weight: float32 cannot hold many of these differences.
    draw = torch.Generator().manual_seed(0)
    size = (200, 50)
    scale = 10 ** torch.empty(size).uniform_(-6, 4, generator=draw)
    before = (torch.randn(size, generator=draw) * scale).to(dtype)
    after = (torch.randn(size, generator=draw) * scale.flip(0)).to(dtype)
    after[0, 0], before[0, 0] = -0.0, 3.0
    after[0, 1], before[0, 1] = 0.0, -0.0
    pair = checkpoint(tmp_path / "a", {"w": before}), checkpoint(tmp_path / "b", {"w": after})
    delta = extracted(tmp_path, *pair)
    assert torch.equal(bits(delta.post("w", before)), bits(after))
    if dtype == torch.float32:
        naive = before + delta.tensor("w")
        assert not torch.equal(bits(naive), bits(after)), "this case must need the patch"


def test_the_delta_of_a_model_is_the_difference_of_its_tensors(tmp_path, tiny_pair):
    base, post = (Checkpoint(end) for end in tiny_pair(torch.bfloat16, "20KB"))
    delta = extracted(tmp_path, base, post)
    assert delta.tensors.keys() == base.tensors.keys()
    for name in base.tensors:
        difference = post.tensor(name).float() - base.tensor(name).float()
        assert torch.equal(delta.tensor(name), difference)


def test_statistics_are_those_of_each_tensor(tmp_path):
    before = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    after = torch.tensor([[1.0, 5.0, 3.0], [0.0, 5.0, 6.0]])  # delta 0, 3, 0, -4, 0, 0
    name = "model.layers.1.mlp.up_proj.weight"
    pair = checkpoint(tmp_path / "a", {name: before}), checkpoint(tmp_path / "b", {name: after})
    extracted(tmp_path, *pair)
    row = pd.read_csv(tmp_path / "delta" / "statistics.csv").iloc[0]
    assert (row["tensor"], row["layer"], row["group"]) == (name, 1, "feed_forward")
    assert (row["size"], row["shape"], row["dtype"]) == (6, "2x3", "float32")
    assert row["norm"] == 5
    assert row["base_norm"] == pytest.approx(91**0.5)
    assert (row["mean_magnitude"], row["max_magnitude"], row["zero_share"]) == (7 / 6, 4, 4 / 6)


def test_tensors_that_are_not_floating_point_have_no_delta(tmp_path):
    tensors = {"w": torch.ones(2), "ids": torch.arange(3)}
    pair = checkpoint(tmp_path / "a", tensors), checkpoint(tmp_path / "b", tensors)
    assert set(extracted(tmp_path, *pair).tensors) == {"w"}


def test_numbers_that_are_not_finite_are_refused(tmp_path, tiny_pair):
    base, post = tiny_pair()
    tensors = load_file(post / "model.safetensors")
    tensors["model.norm.weight"][3] = float("nan")
    (tmp_path / "delta").mkdir()
    broken = checkpoint(tmp_path / "broken", tensors)
    with pytest.raises(UserError, match=r"'model\.norm\.weight' holds NaN"):
        extract(Checkpoint(base), broken, tmp_path / "delta")
