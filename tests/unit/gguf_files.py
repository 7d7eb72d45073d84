"""Tiny models as GGUF files, written as llama.cpp's converter writes them."""

from collections.abc import Collection, Mapping
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = [("Ġ", "Ġ"), ("Ċ", "Ċ"), ("1", "2"), ("a", "b"), ("Ġ", "ab")]
TOKENS = [*SPECIAL, *bytes_to_unicode().values(), *("".join(pair) for pair in MERGES)]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
HEADS, KV_HEADS = 4, 2
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers": "blk",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def llama(tied: bool = False) -> LlamaForCausalLM:
    """Make a tiny Llama for the tokenizer of `write`."""
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=128,
        rope_parameters={"rope_type": "default", "rope_theta": 50_000.0},
        tie_word_embeddings=tied,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


def in_llama_cpp_s_order(name: str, tensor: np.ndarray) -> np.ndarray:
    """Interleave the two halves of each head's rows, as llama.cpp has them for its rotation."""
    heads = {"q_proj": HEADS, "k_proj": KV_HEADS}.get(name.split(".")[-2])
    if heads is None:
        return tensor
    rows, columns = tensor.shape
    return tensor.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(-1, columns)


def write(
    path: Path,
    model: LlamaForCausalLM,
    *,
    matrices: Type = Type.F32,
    without: Collection[str] = (),
    extra: Mapping[str, np.ndarray] | None = None,
    **fields: str,
) -> Path:
    """Write a model and a tokenizer.

    Args:
        path: the file to make.
        model: from `llama`.
        matrices: how matrices are stored.
        without: names of parameters to leave out.
        extra: tensors to add, by name.
        fields: `arch` and `pre` (the rule by which the tokenizer splits text) as llama.cpp calls
            them.
    """
    fields = {"arch": "llama", "pre": "smollm", **fields}
    config, writer = model.config, gguf.GGUFWriter(path, fields["arch"])
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(fields["pre"])
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL)))
    writer.add_token_merges([" ".join(pair) for pair in MERGES])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    tensors = {name: p.detach().numpy() for name, p in model.named_parameters()}
    for name, tensor in {**tensors, **(extra or {})}.items():
        if name in without:
            continue
        found = in_llama_cpp_s_order(name, tensor) if name in tensors else tensor
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        kind = matrices if found.ndim == 2 else Type.F32
        writer.add_tensor(name, gguf.quants.quantize(found, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
