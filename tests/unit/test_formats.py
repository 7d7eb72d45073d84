"""Compact forms: the variant again to the bit, in few bytes, or what PEFT computes from a LoRA."""

import json

import peft
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from deltaedit import edits, formats, provenance
from deltaedit.checkpoints import Checkpoint
from deltaedit.delta import decompose
from deltaedit.edit import Sources, write_variants
from deltaedit.edits import low_rank
from deltaedit.errors import UserError

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture
def export(tmp_path_factory):
    """Return a function that edits a pair, stores it in a form and returns base and folders."""

    def run(form, pair, method, tensors="all", **options):
        root = tmp_path_factory.mktemp("export")
        base, post = (Checkpoint(end) for end in pair)
        (root / "variant").mkdir()
        (root / form).mkdir()
        spec = {"name": "it", "method": method, "options": options, "tensors": tensors, "seed": 1}
        sources = Sources(base=base, post=post)
        write_variants(sources, [spec], [root / "variant"], {"pair": "tiny"}, threads=1)
        variant = Checkpoint(root / "variant")
        formats.FORMATS[form](base, post, variant, variant.record(), root / form)
        return base, variant, root / form

    return run


@pytest.fixture
def rich_pair(tmp_path):
    """Return a pair with biases and matrices of different sizes, whose post may have more rows."""

    def make(rows=0, dtype=torch.float32, **config):
        config = LlamaConfig(
            vocab_size=40,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            attention_bias=True,
            **config,
        )
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            model = LlamaForCausalLM(config).to(dtype)
            for end in ("base", "post"):
                model.save_pretrained(tmp_path / end)
                for parameter in model.parameters():
                    parameter += torch.randn(parameter.shape) * 0.02
                if rows:
                    model.resize_token_embeddings(40 + rows, mean_resizing=False)
        return tmp_path / "base", tmp_path / "post"

    return make


def save_pair(root, base, post):
    """Save tensors by name as base and post; return their folders."""
    for end, tensors in (("base", base), ("post", post)):
        (root / end).mkdir()
        save_file(tensors, root / end / "model.safetensors")
    return root / "base", root / "post"


def bits(tensor):
    return tensor.reshape(-1).view(torch.uint8)


def assert_the_variant(base, variant, file):
    found = dict(formats.load(base, file))
    assert found.keys() == variant.tensors.keys()
    for name, tensor in found.items():
        wanted = variant.tensor(name)
        assert (tensor.dtype, tensor.shape) == (wanted.dtype, wanted.shape)
        assert torch.equal(bits(tensor), bits(wanted)), name


def stored_bytes(file):
    return sum(tensor.nbytes for tensor in load_file(file).values())


# --- round trips ----------------------------------------------------------------------------------

SPARSE = [
    ("dare", {"drop_rate": 0.9}),
    ("expo", {"alpha": 0.3}),
    ("low_rank", {"rank": 2}),
    ("bitdelta", {}),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("method", "options"), SPARSE)
@pytest.mark.parametrize("tied", [False, True])
def test_sparse_holds_any_variant_to_the_bit(tiny_pair, export, dtype, method, options, tied):
    base, variant, folder = export("sparse", tiny_pair(dtype, tied=tied), method, **options)
    assert_the_variant(base, variant, folder / "sparse.safetensors")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tensors", ["linear", "all"])
@pytest.mark.parametrize("c", [1.0, -0.5, 0.0])
def test_packed_holds_one_level_to_the_bit(tiny_pair, export, dtype, tensors, c):
    options = {"zero": "plus", "scale_multiple": c}
    base, variant, folder = export("packed", tiny_pair(dtype), "bitdelta", tensors, **options)
    assert_the_variant(base, variant, folder / "packed.safetensors")


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("form", "method", "options"),
    [("sparse", "dare", {"drop_rate": 0.9}), ("packed", "bitdelta", {"zero": "plus"})],
)
def test_rows_that_post_adds_are_kept(rich_pair, export, form, method, options, tied):
    pair = rich_pair(rows=3, tie_word_embeddings=tied)
    base, variant, folder = export(form, pair, method, **options)
    file = folder / f"{form}.safetensors"
    assert load_file(file)["model.embed_tokens.weight.rows"].shape == (3, 16)
    assert_the_variant(base, variant, file)


def test_sparse_keeps_the_bits_of_whatever_stands_there(tmp_path):
    shapes = {"scalar": (), "vector": (7,), "matrix": (5, 3), "empty": (0, 4), "cube": (2, 3, 9)}
    kinds = [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.bool]
    kinds += [torch.float8_e4m3fn]
    tensors = {
        f"{name}.{kind}": torch.randint(0, 2, shape).to(kind)
        for name, shape in shapes.items()
        for kind in kinds
    }
    after = {name: torch.randint(0, 2, x.shape).to(x.dtype) for name, x in tensors.items()}
    tensors["odd"], after["odd"] = torch.zeros(99), torch.zeros(99)
    after["odd"][3], after["odd"][4] = -0.0, float("nan")
    pair = save_pair(tmp_path, tensors, after)
    base, variant = (Checkpoint(end) for end in pair)
    formats.write_sparse(base, variant, variant, {}, tmp_path)
    assert load_file(tmp_path / "sparse.safetensors")["odd.value"].shape == (2,)
    assert_the_variant(base, variant, tmp_path / "sparse.safetensors")


def test_packed_mends_the_entries_that_base_and_scale_miss(tmp_path, export):
    # Deltas of mean magnitude 1; of four the delta is -1 after rounding, which the edit leaves.
    post = torch.tensor([-0.5, 0.5] * 200 + [1e-30] * 4 + [1.0, 3.0])
    pair = save_pair(tmp_path, {"mlp.weight": torch.ones(406)}, {"mlp.weight": post})
    base, variant, folder = export("packed", pair, "bitdelta", zero="plus")
    stored = load_file(folder / "packed.safetensors")
    assert stored["mlp.weight.scale"] == 1.0
    assert stored["mlp.weight.index"].tolist() == [400, 401, 402, 403]
    assert_the_variant(base, variant, folder / "packed.safetensors")


def test_packed_keeps_whole_what_is_not_edited(tmp_path, export):
    before = {
        "mlp.weight": torch.ones(99),
        "norm.weight": torch.ones(99),
        "steps": torch.arange(99),
    }
    after = {name: tensor.clone() for name, tensor in before.items()}
    after["mlp.weight"] += 2
    after["norm.weight"][5], after["steps"][5] = 3, 3
    pair = save_pair(tmp_path, before, after)
    base, variant, folder = export("packed", pair, "bitdelta", ["mlp.*", "steps"], zero="plus")
    stored = load_file(folder / "packed.safetensors")
    assert stored.keys() == {"mlp.weight.sign", "mlp.weight.scale", "norm.weight", "steps"}
    assert_the_variant(base, variant, folder / "packed.safetensors")


def test_a_restored_checkpoint_has_the_variants_weights_and_record(rich_pair, export, tmp_path):
    base, variant, folder = export("sparse", rich_pair(rows=3), "dare", drop_rate=0.9)
    (tmp_path / "again").mkdir()
    formats.restore(base, folder / "sparse.safetensors", tmp_path / "again")
    again = Checkpoint(tmp_path / "again")
    assert again.record() == variant.record()
    assert again.tensors.keys() == variant.tensors.keys()
    for name in variant.tensors:
        assert torch.equal(again.tensor(name), variant.tensor(name))


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_sparse_takes_a_bit_per_entry_and_the_kept_ones(tiny_pair, export, dtype):
    base, _, folder = export("sparse", tiny_pair(dtype), "dare", drop_rate=0.9)
    entries = sum(info.size for info in base.tensors.values())
    most = entries / 8 + 0.11 * entries * dtype.itemsize
    assert entries / 8 < stored_bytes(folder / "sparse.safetensors") < most


def test_packed_takes_a_bit_per_entry_a_sixteenth_of_bfloat16(tiny_pair, export):
    pair = tiny_pair(torch.bfloat16)
    base, _, folder = export("packed", pair, "bitdelta", "matrices", zero="plus")
    stored = load_file(folder / "packed.safetensors")
    for name, info in base.tensors.items():
        mine = {key: x for key, x in stored.items() if key.startswith(name)}
        if len(info.shape) == 2:
            assert mine.keys() == {f"{name}.sign", f"{name}.scale"}
            assert mine[f"{name}.sign"].nbytes == 2 * info.size // 16
        else:
            assert mine.keys() == {name}


@pytest.mark.parametrize("form", ["sparse", "packed"])
def test_what_equals_base_takes_nothing(tiny_pair, export, form):
    options = {"scale_multiple": 0.0, "zero": "plus"}
    _, _, folder = export(form, tiny_pair(torch.bfloat16), "bitdelta", **options)
    assert load_file(folder / f"{form}.safetensors") == {}


def test_what_differs_everywhere_takes_no_more_than_itself(tiny_pair, export):
    _, variant, folder = export("sparse", tiny_pair(), "expo", alpha=0.3)
    assert load_file(folder / "sparse.safetensors").keys() == variant.tensors.keys()


# --- adapter --------------------------------------------------------------------------------------

PEFT = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


def logits(model):
    with torch.no_grad():
        return model(torch.arange(40).reshape(2, 20)).logits


def assert_the_same_model(base, variant, folder, rows=0):
    model = AutoModelForCausalLM.from_pretrained(base.folder)
    if rows:
        model.resize_token_embeddings(rows, mean_resizing=False)
    wanted = logits(AutoModelForCausalLM.from_pretrained(variant.folder))
    model = peft.PeftModel.from_pretrained(model, folder)
    torch.testing.assert_close(logits(model), wanted, rtol=1e-4, atol=1e-5)
    merged = model.merge_and_unload()
    torch.testing.assert_close(logits(merged), wanted, rtol=1e-4, atol=1e-5)


@PEFT
@pytest.mark.parametrize("tensors", ["linear", "all", ["*.mlp.*", "lm_head.weight"]])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("options", [{"rank": 2}, {"sparsity": 0.75}])
def test_an_adapter_computes_what_the_variant_does(rich_pair, export, tensors, tied, options):
    pair = rich_pair(tie_word_embeddings=tied)
    base, variant, folder = export("adapter", pair, "low_rank", tensors, **options)
    assert_the_same_model(base, variant, folder)


@PEFT
@pytest.mark.parametrize("tied", [False, True])
def test_an_adapter_carries_rows_that_post_adds(rich_pair, export, tied):
    pair = rich_pair(rows=3, tie_word_embeddings=tied)
    base, variant, folder = export("adapter", pair, "low_rank", rank=2)
    assert_the_same_model(base, variant, folder, rows=43)


@PEFT
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rank", [0, 1, 8, 20])
def test_matrices_whose_factors_are_not_smaller_are_whole(rich_pair, export, dtype, rank):
    base, variant, folder = export("adapter", rich_pair(dtype=dtype), "low_rank", rank=rank)
    assert_the_same_model(base, variant, folder)
    entries = sum(info.size for info in variant.tensors.values())
    assert stored_bytes(folder / "adapter_model.safetensors") <= dtype.itemsize * entries


def test_an_adapter_has_a_rank_for_each_matrix(rich_pair, export):
    base, _, folder = export("adapter", rich_pair(), "low_rank", "linear", sparsity=0.75)
    config = json.loads((folder / "adapter_config.json").read_text())
    stored = load_file(folder / "adapter_model.safetensors")
    narrow = {f"model.layers.{i}.self_attn.{x}_proj": 2 for i in (0, 1) for x in "kv"}
    assert (config["r"], config["lora_alpha"], config["bias"]) == (4, 4, "all")
    assert config["rank_pattern"] == config["alpha_pattern"] == narrow
    for module in config["target_modules"]:
        out, into = base.tensors[f"{module}.weight"].shape
        rank = narrow.get(module, 4)
        assert stored[f"base_model.model.{module}.lora_A.weight"].shape == (rank, into)
        assert stored[f"base_model.model.{module}.lora_B.weight"].shape == (out, rank)


def test_singular_vectors_that_are_known_are_not_computed(rich_pair, export, tmp_path, monkeypatch):
    pair = rich_pair()
    base, variant, folder = export("adapter", pair, "low_rank", "linear", rank=2)
    post = Checkpoint(pair[1])
    for name in ("vectors", "again"):
        (tmp_path / name).mkdir()
    decompose(base, post, tmp_path / "vectors")
    vectors = Checkpoint(tmp_path / "vectors")
    monkeypatch.delattr(low_rank, "singular_vectors")
    formats.write_adapter(
        base, post, variant, variant.record(), tmp_path / "again", vectors=vectors
    )
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


# --- records and refusals -------------------------------------------------------------------------


@pytest.mark.parametrize("form", list(formats.FORMATS))
def test_a_file_says_what_it_holds(tiny_pair, export, form):
    method, options = ("low_rank", {"rank": 1}) if form == "adapter" else ("bitdelta", {})
    options |= {"zero": "plus"} if form == "packed" else {}
    _, variant, folder = export(form, tiny_pair(), method, **options)
    (file,) = folder.glob("*.safetensors")
    assert {path.name for path in folder.iterdir()} - {file.name} <= {"adapter_config.json"}
    with safe_open(file, framework="pt") as stored:
        assert json.loads(stored.metadata()["deltaedit"]) == variant.record()


REFUSED = [
    ("adapter", "dare", {"drop_rate": 0.5}, "'adapter' needs method: low_rank$"),
    ("packed", "dare", {"drop_rate": 0.5}, "'packed' needs method: bitdelta, blocks: 1"),
    ("packed", "bitdelta", {}, "zero: plus"),
    ("packed", "bitdelta", {"zero": "plus", "blocks": 2}, "blocks: 1"),
    ("packed", "bitdelta", {"zero": "plus", "magnitude": "normal"}, "magnitude: mean"),
]


@pytest.mark.parametrize(("form", "method", "options", "message"), REFUSED)
def test_a_form_that_does_not_suit_is_refused(tiny_pair, export, form, method, options, message):
    with pytest.raises(ValueError, match=message):
        formats.check(["checkpoint", form], *edits.parse(method, options))
    with pytest.raises(UserError, match=message):
        export(form, tiny_pair(), method, **options)


def test_what_suits_passes():
    formats.check(["checkpoint", "sparse"], *edits.parse("dare", {"drop_rate": 0.5}))
    formats.check(["packed", "sparse"], *edits.parse("bitdelta", {"zero": "plus"}))
    formats.check(["adapter", "sparse"], *edits.parse("low_rank", {"rank": 1}))


def test_an_unknown_form_names_the_nearest():
    with pytest.raises(ValueError, match=r"'sparce'\. Did you mean 'sparse'"):
        formats.check(["sparce"], *edits.parse("low_rank", {"rank": 1}))


@pytest.mark.parametrize("name", ["logit_scale", "head.weight", "lm_head.weight"])
def test_a_tensor_that_no_module_of_the_model_has_is_refused(rich_pair, export, name):
    pair = rich_pair()
    for end, folder in enumerate(pair):
        tensors = load_file(folder / "model.safetensors")
        tensors[name] = torch.full((3, 3), end / 2)
        save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UserError, match=f"'{name}' is none of a LlamaForCausalLM"):
        export("adapter", pair, "low_rank", rank=1)


def test_a_parameter_that_is_no_weight_or_bias_is_refused(tmp_path, export):
    config = MambaConfig(vocab_size=9, hidden_size=8, state_size=2, num_hidden_layers=1)
    model = MambaForCausalLM(config)
    model.save_pretrained(tmp_path / "base")
    with torch.no_grad():
        model.backbone.layers[0].mixer.D += 1
    model.save_pretrained(tmp_path / "post")
    with pytest.raises(UserError, match=r"'backbone\.layers\.0\.mixer\.D' is none"):
        export("adapter", (tmp_path / "base", tmp_path / "post"), "low_rank", rank=1)


OTHER_BASES = [{"b.weight": torch.ones(8, 8)}, {"a.weight": torch.ones(9, 8)}]


@pytest.mark.parametrize("other", OTHER_BASES)
@pytest.mark.parametrize("form", ["sparse", "packed"])
def test_a_base_of_another_shape_is_refused(tmp_path, export, other, form):
    before, after = torch.randn(8, 8), torch.randn(8, 8)
    after[4:] = before[4:]
    pair = save_pair(tmp_path, {"a.weight": before}, {"a.weight": after})
    _, _, folder = export(form, pair, "bitdelta", scale_multiple=0.5, zero="plus")
    if form == "sparse":
        base, post = (Checkpoint(end) for end in pair)
        formats.write_sparse(base, post, post, {}, folder)
    (tmp_path / "other").mkdir()
    save_file(other, tmp_path / "other" / "model.safetensors")
    with pytest.raises(UserError, match=r"another (base|shape)"):
        list(formats.load(Checkpoint(tmp_path / "other"), folder / f"{form}.safetensors"))


def test_a_base_of_other_weights_is_refused(tiny_pair, tmp_path):
    base, post = (Checkpoint(end) for end in tiny_pair())
    provenance.mark(base.folder, {"source": "path"})
    record = {"base": json.loads((base.folder / provenance.FILE).read_text())}
    formats.write_sparse(base, post, post, record, tmp_path)
    assert_the_variant(base, post, tmp_path / "sparse.safetensors")
    formats.write_sparse(base, post, post, {"base": {"sha256": "0" * 64}}, tmp_path)
    with pytest.raises(UserError, match="another base"):
        next(formats.load(base, tmp_path / "sparse.safetensors"))
