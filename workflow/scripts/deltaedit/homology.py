"""Whether the delta of one model has a meaning on another: one architecture, one vocabulary.

Homologous models of Cao et al. 2025, ParamDelta, section 2.1: the same configuration (layers,
heads, dimensions) and the same tokenizer. Names and shapes of tensors are compared by
`checkpoints.check_match` and `checkpoints.check_same`; here it is what they leave open.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deltaedit.errors import UserError

# The length of contexts and how positions are stretched to it. Post-training and continued
# pretraining change them (Llama 3.1 is Llama 3 with both changed, and the paper's own example), so
# they may differ, but a model keeps those of the base that its weights stand on: see `config_on`.
CONTEXT = frozenset(
    {
        *("max_position_embeddings", "original_max_position_embeddings", "n_positions", "n_ctx"),
        *("rope_scaling", "rope_parameters", "model_max_length", "tokenizer_model_max_length"),
        *("sliding_window", "use_sliding_window", "max_window_layers"),
    }
)
# What says nothing about what weights mean: file and library, number format, speed, generation,
# training, labels.
IRRELEVANT = CONTEXT | {
    *("_name_or_path", "transformers_version", "auto_map", "architectures", "torchscript"),
    *("dtype", "torch_dtype", "use_cache", "pretraining_tp", "quantization_config"),
    *("_attn_implementation_autoset", "attn_implementation", "gradient_checkpointing"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "unk_token_id"),
    *("decoder_start_token_id", "task_specific_params", "problem_type", "return_dict"),
    *("attention_dropout", "hidden_dropout", "attention_probs_dropout_prob", "attn_pdrop"),
    *("hidden_dropout_prob", "resid_pdrop", "embd_pdrop", "dropout", "initializer_range"),
    *("initializer_factor", "label2id", "id2label", "num_labels", "finetuning_task"),
    "vocab_size",  # that of the tensors, which are compared by shape
}
SHOWN = 40  # characters of a value in a message


def check(one: Path, other: Path) -> None:
    """Raise UserError, in one line with both values of what differs, unless two are homologous.

    Compared are the fields that both `config.json` have (one that a file lacks has its default,
    which an older file may leave out) but for `IRRELEVANT`, the base of rotary positions, and the
    vocabulary with its merges. Tokens that were added to a vocabulary may differ. What a folder
    lacks, a config or a tokenizer, is not compared.

    Args:
        one: folder of a checkpoint in Hugging Face layout.
        other: folder of the checkpoint that it is compared with.
    """
    found = differences(_read(one / "config.json"), _read(other / "config.json"))
    ours, theirs = (vocabulary(folder) for folder in (one, other))
    if ours and theirs and ours.keys() == theirs.keys():
        found += [
            f"{name} is {ours[name]} in one, {theirs[name]} in the other"
            for name in ours
            if ours[name] != theirs[name]
        ]
    if found:
        raise UserError(
            f"{one} and {other} are not homologous: {'; '.join(found)}; a delta has a meaning only"
            " on a base of the same architecture and vocabulary"
        )


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Say which fields of two configs differ and matter, each with both values."""
    ours, theirs = _fields(one), _fields(other)
    return [
        f"{name} is {_short(ours[name])} in one, {_short(theirs[name])} in the other"
        for name in sorted(ours.keys() & theirs.keys())
        if ours[name] != theirs[name]
    ]


def _fields(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the fields that matter, those of parts (text_config) as "text_config.name"."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if name.endswith("_config") and isinstance(value, Mapping):
            found |= _fields(value, f"{prefix}{name}.")
        elif name not in IRRELEVANT and value is not None:
            found[prefix + name] = value
    # Newer files have the base of rotary positions beside its stretching.
    rotary = config.get("rope_parameters") or {}
    if "rope_theta" in rotary:
        found[f"{prefix}rope_theta"] = rotary["rope_theta"]
    return found


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def vocabulary(folder: Path) -> dict[str, str]:
    """Return short hashes of a tokenizer's vocabulary and merges, nothing where there is none.

    Of `tokenizer.json` they are those of its model; added tokens, normalisation and templates are
    left out. Without that file they are those of the older files that hold the same.
    """
    model = _read(folder / "tokenizer.json").get("model")
    if isinstance(model, dict) and "vocab" in model:
        # Files write a merge as "a b" or as ["a", "b"].
        merges = [m if isinstance(m, str) else " ".join(m) for m in model.get("merges") or []]
        words = model["vocab"]
        return {
            "vocabulary": f"{len(words)} tokens ({_hash(words)})",
            "merges": f"{len(merges)} ({_hash(merges)})",
        }
    files = ("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model")
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()[:8]
        for name in files
        if (folder / name).is_file()
    }


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def _read(file: Path) -> dict[str, Any]:
    """Return a JSON object, or nothing where there is no such file."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{file}: no JSON object; get a fresh copy")
    return found


def write_config_on(post: Path, onto: Path, target: Path) -> None:
    """Write the config of post's delta on `onto` into the folder `target`, if both have one."""
    ours, base = _read(post / "config.json"), _read(onto / "config.json")
    if ours and base:
        text = json.dumps(config_on(ours, base), indent=2, sort_keys=True)
        (target / "config.json").write_text(text + "\n", encoding="utf-8")


def config_on(post: Mapping[str, Any], onto: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a model that is the delta of `post` on the base `onto`.

    It is that of post, which knows how it is used, with the context and the positions of `onto`,
    for which the weights were made: Llama 3's delta on Llama 3.1 keeps the rotary scaling of 3.1.
    """
    kept = {name: value for name, value in post.items() if name not in CONTEXT}
    return kept | {name: value for name, value in onto.items() if name in CONTEXT}
