"""A delta goes only onto a base of its own architecture and vocabulary."""

import json
import shutil

import pytest
from transformers import AutoModelForCausalLM

from deltaedit import homology
from deltaedit.checkpoints import Checkpoint
from deltaedit.edit import Sources, write_variants
from deltaedit.errors import UserError

LLAMA3 = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
    "num_attention_heads": 32, "num_hidden_layers": 32, "vocab_size": 128256, "eos_token_id": 1,
    "max_position_embeddings": 8192, "rope_theta": 500000.0, "rope_scaling": None,
    "rms_norm_eps": 1e-05, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "transformers_version": "4.40.0.dev0", "use_cache": True, "pretraining_tp": 1,
}  # fmt: skip
LLAMA31 = LLAMA3 | {
    "max_position_embeddings": 131072, "mlp_bias": False, "transformers_version": "4.43.0.dev0",
    "rope_scaling": {"factor": 8.0, "rope_type": "llama3"},
}  # fmt: skip


@pytest.fixture
def other(tiny_pair, tmp_path):
    """Return a function that copies a base and changes JSON files in it, by a function each."""

    def make(**changes):
        folder = tmp_path / "other"
        shutil.copytree(tiny_pair(seed=3)[0], folder)
        for file, change in changes.items():
            path = folder / f"{file}.json"
            content = json.loads(path.read_text())
            change(content)
            path.write_text(json.dumps(content))
        return folder

    return make


def sources(pair, folder=None, deltas=()):
    base, post = map(Checkpoint, pair)
    onto = None if folder is None else Checkpoint(folder)
    return Sources(base=base, post=post, onto=onto, deltas=deltas)


# --- configs --------------------------------------------------------------------------------------


def test_the_paper_s_own_models_are_homologous():
    assert homology.differences(LLAMA3, LLAMA31) == []
    newer = {k: v for k, v in LLAMA31.items() if not k.startswith(("rope", "torch_dtype"))}
    newer |= {
        "rope_parameters": {"rope_theta": 500000.0, "rope_type": "llama3"},
        "dtype": "float32",
    }
    assert homology.differences(LLAMA3, newer) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model_type": "qwen2"}, 'model_type is "llama" in one, "qwen2" in the other'),
        ({"num_attention_heads": 16}, "num_attention_heads is 32 in one, 16 in the other"),
        ({"rope_theta": 10000}, "rope_theta is 500000.0 in one, 10000 in the other"),
        ({"rms_norm_eps": 1e-6}, "rms_norm_eps is 1e-05 in one, 1e-06 in the other"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings is false in one, true in the other"),
        (
            {"rope_theta": None, "rope_parameters": {"rope_theta": 1e6}},
            "rope_theta is 500000.0 in one, 1000000.0 in the other",
        ),
    ],
)
def test_a_field_that_matters_is_named_with_both_values(changed, message):
    assert homology.differences(LLAMA3, LLAMA3 | changed) == [message]


def test_a_field_of_a_part_is_named_by_its_place():
    one, two = ({"text_config": {"hidden_size": n, "dtype": str(n)}} for n in (8, 16))
    assert homology.differences(one, two) == [
        "text_config.hidden_size is 8 in one, 16 in the other"
    ]


def test_the_config_on_another_base_has_its_context_and_post_s_use():
    post = LLAMA3 | {"eos_token_id": 128009, "sliding_window": 512}
    found = homology.config_on(post, LLAMA31)
    assert found["rope_scaling"] == LLAMA31["rope_scaling"]
    assert found["max_position_embeddings"] == 131072
    assert found["eos_token_id"] == 128009
    assert "sliding_window" not in found


# --- at the edit ----------------------------------------------------------------------------------


def test_other_words_for_the_same_model_are_allowed(tiny_pair, other):
    def reword(config):
        config.update(transformers_version="0", torch_dtype="float16", _name_or_path="x")
        config.update(use_cache=False, eos_token_id=5, max_position_embeddings=4096)

    def add(tokenizer):
        tokenizer["added_tokens"].append({"id": 999, "content": "<new>"})
        tokenizer["truncation"] = {"max_length": 7}

    sources(tiny_pair(), other(config=reword, tokenizer=add))


@pytest.mark.parametrize("where", ["onto", "base of deltas", "post of deltas", "own post"])
def test_a_mismatch_is_refused_in_one_line_wherever_it_is(tiny_pair, other, where):
    pair, wrong = tiny_pair(), other(config=lambda c: c.update(hidden_act="gelu", rms_norm_eps=0.1))
    with pytest.raises(UserError, match=r"^[^\n]+ are not homologous: [^\n]+$") as caught:
        match where:
            case "onto":
                sources(pair, wrong)
            case "base of deltas":
                sources(pair, deltas=[(Checkpoint(wrong), Checkpoint(pair[1]))])
            case "post of deltas":
                sources(pair, deltas=[(Checkpoint(pair[0]), Checkpoint(wrong))])
            case "own post":
                sources((pair[0], wrong), pair[0])
    assert 'hidden_act is "silu" in one, "gelu" in the other; rms_norm_eps is' in str(caught.value)
    assert str(wrong) in str(caught.value)


def test_without_another_base_a_pair_is_compared_by_its_tensors_alone(tiny_pair, other):
    sources((tiny_pair()[0], other(config=lambda config: config.update(rms_norm_eps=0.1))))


def test_another_vocabulary_is_refused_and_another_size_named_by_the_config(tiny_pair, other):
    def swap(tokenizer):
        words = tokenizer["model"]["vocab"]
        one, two = list(words)[-2:]
        words[one], words[two] = words[two], words[one]

    with pytest.raises(UserError, match=r"vocabulary is \d+ tokens \(\w{8}\) in one, \d+ tokens"):
        sources(tiny_pair(), other(tokenizer=swap))
    with pytest.raises(UserError, match="hidden_size is 16 in one, 24 in the other"):
        sources(tiny_pair(), tiny_pair(hidden_size=24)[0])


def test_what_is_not_there_is_not_compared(tiny_pair, other):
    folder = other()
    (folder / "tokenizer.json").unlink()
    (folder / "config.json").unlink()
    sources(tiny_pair(), folder)


def test_a_broken_config_is_refused_in_one_line(tiny_pair, other):
    folder = other()
    (folder / "config.json").write_text("{")
    homologous = sources(tiny_pair())
    with pytest.raises(UserError, match=r"config\.json: no JSON object"):
        homology.check(homologous.base.folder, folder)


def test_merges_count_in_either_spelling(tmp_path):
    def write(name, merges):
        (tmp_path / name).mkdir()
        model = {"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": merges}
        (tmp_path / name / "tokenizer.json").write_text(json.dumps({"model": model}))
        return tmp_path / name

    one, same = write("one", ["a b", "b a"]), write("same", [["a", "b"], ["b", "a"]])
    homology.check(one, same)
    with pytest.raises(UserError, match=r"merges is 2 \(\w+\) in one, 2 \(\w+\) in the other"):
        homology.check(one, write("turned", ["b a", "a b"]))


def test_older_tokenizer_files_are_compared_as_they_are(tmp_path):
    for name, merges in (("one", "a b"), ("same", "a b"), ("other", "b a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "merges.txt").write_text(merges)
    homology.check(tmp_path / "one", tmp_path / "same")
    with pytest.raises(UserError, match=r"merges\.txt is \w{8} in one"):
        homology.check(tmp_path / "one", tmp_path / "other")


def test_a_variant_on_another_base_has_its_context_and_loads(tiny_pair, other, tmp_path):
    longer = other(config=lambda config: config.update(max_position_embeddings=512))
    variant = {"name": "it", "method": "combine", "options": {}, "tensors": "all", "seed": 0}
    target = tmp_path / "it"
    target.mkdir()
    write_variants(sources(tiny_pair(), longer), [variant], [target], {"pair": "tiny"})
    assert AutoModelForCausalLM.from_pretrained(target).config.max_position_embeddings == 512
