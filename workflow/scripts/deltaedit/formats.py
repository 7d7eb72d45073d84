"""Compact forms of a variant, an edited checkpoint, each relative to the base of its pair.

A sparse or packed file holds nothing of a tensor that equals base's, else the tensor under its own
name or its parts as `{name}.{part}`. Of a tensor of n entries in base they are

    mask    one bit per entry, 1 where the variant differs: uint8, n / 8 rounded up
    sign    one bit per entry, 1 for plus: uint8, as many (both as np.packbits orders them)
    scale   what `sign` multiplies: float32, a scalar
    index   the entries where base + scale * sign misses the variant: int64
    value   the variant's entries under `mask` or at `index`: the checkpoint's dtype
    rows    those that the variant has after the rows of base: the checkpoint's dtype
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from deltaedit import edits, floats, provenance, registry
from deltaedit.checkpoints import Checkpoint, TensorInfo, torch_dtype, write_tensors
from deltaedit.delta import whole
from deltaedit.edits import bitdelta, low_rank
from deltaedit.errors import UserError
from deltaedit.files import WEIGHTS, write_json
from deltaedit.magnitudes import mean_magnitude
from deltaedit.parts import is_selected

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

Parts = dict[str, tuple[str, np.ndarray]]  # part -> safetensors' name of its dtype, its bits
_NEEDED = {
    "adapter": (low_rank, {}),
    "packed": (bitdelta, {"blocks": 1, "magnitude": "mean", "zero": "plus"}),
}
_PEFT = "base_model.model."  # stands before the names of modules in an adapter


def check(formats: Iterable[str], method: ModuleType, params: Any) -> None:
    """Raise UserError unless each form is known and can hold what `method` with `params` makes."""
    for form in formats:
        if form not in (known := ["checkpoint", *FORMATS]):
            raise UserError(registry.unknown("format", form, known))
        needed, options = _NEEDED.get(form, (method, {}))
        if method is not needed or any(getattr(params, key) != options[key] for key in options):
            wanted = {"method": needed.__name__.rpartition(".")[2], **options}
            words = ", ".join(f"{key}: {value}" for key, value in wanted.items())
            raise UserError(f"format {form!r} needs {words}")


# --- sparse and packed ----------------------------------------------------------------------------


def write_sparse(
    base: Checkpoint, post: Checkpoint, variant: Checkpoint, record: Mapping[str, Any], target: Path
) -> None:
    """Write `sparse.safetensors`: where the variant's bits differ from base's, and what is there.

    Args:
        base: of the pair.
        post: of the pair.
        variant: the edited checkpoint, made by any method.
        record: what its metadata say of it.
        target: an existing folder.
    """

    def encode(name: str, before: np.ndarray, after: np.ndarray) -> Parts:
        differs = before != after
        value = base.tensors[name].dtype, after[differs]
        return {"mask": ("U8", np.packbits(differs)), "value": value}

    _write(target / "sparse.safetensors", _compact(base, variant, encode), record)


def write_packed(
    base: Checkpoint, post: Checkpoint, variant: Checkpoint, record: Mapping[str, Any], target: Path
) -> None:
    """Write `packed.safetensors`: one bit per entry of each edited tensor, and its scale.

        variant = base + scale * sign, in float32, rounded once to the checkpoint's dtype

    Where that misses the variant (which has post's bits where the edit leaves the delta as it is),
    `index` and `value` mend it. Other tensors are stored whole. Arguments as in `write_sparse`.

    Raises:
        UserError: the variant was not made by bitdelta with one level and no zeros.
    """
    params = _params("packed", record)

    def encode(name: str, before: np.ndarray, after: np.ndarray) -> Parts | None:
        info = base.tensors[name]
        if not _is_edited(name, info, record):
            return None
        delta = whole(base, post, name).numpy().reshape(-1)
        mean = mean_magnitude(delta.size, lambda: [delta])
        scale = np.array(mean * np.float32(params.scale_multiple))
        sign = np.packbits(delta >= 0)
        wrong = np.flatnonzero(_one_level(before, info.dtype, sign, scale) != after)
        mended = {"index": ("I64", wrong), "value": (info.dtype, after[wrong])}
        return {"sign": ("U8", sign), "scale": ("F32", scale), **(mended if wrong.size else {})}

    _write(target / "packed.safetensors", _compact(base, variant, encode), record)


def load(base: Checkpoint, file: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the names and tensors of a variant, to the bit, from a sparse or packed file.

    Raises:
        UserError: the file is relative to another base.
    """
    import torch
    from safetensors import safe_open

    with safe_open(file, framework="pt") as stored:
        keys = set(stored.keys())
        _check_base(base, file, keys, json.loads(stored.metadata()["deltaedit"]))
        for name, info in base.tensors.items():
            if name in keys:
                yield name, stored.get_tensor(name)
                continue
            parts = {
                part: _bits(stored.get_tensor(f"{name}.{part}"))
                for part in ("mask", "sign", "scale", "index", "value", "rows")
                if f"{name}.{part}" in keys
            }
            bits, shape = _bits(base.tensor(name)), info.shape
            if any(len(parts[part]) != -(-bits.size // 8) for part in {"mask", "sign"} & {*parts}):
                raise UserError(f"{file}: {name!r} has another shape in {base.folder}")
            if "sign" in parts:
                scale = parts["scale"].view(np.float32)
                bits = _one_level(bits, info.dtype, parts["sign"], scale)
            if "value" in parts:
                index = _unpacked(parts["mask"], bits.size) if "mask" in parts else parts["index"]
                bits[index] = parts["value"]
            if "rows" in parts:
                bits, shape = np.concatenate([bits, parts["rows"]]), (-1, *shape[1:])
            raw = torch.from_numpy(bits.view(np.uint8))
            yield name, raw.view(torch_dtype(info.dtype)).reshape(shape)


def restore(base: Checkpoint, file: Path, folder: Path) -> None:
    """Write a variant's weights again to `folder`, which exists, from a sparse or packed file.

    Config and tokenizer are post's.

    Raises:
        UserError: the file is relative to another base.
    """
    from safetensors import safe_open

    with safe_open(file, framework="pt") as stored:
        record = {"deltaedit": stored.metadata()["deltaedit"]}
    layout = [
        (name, base.tensors[name]._replace(shape=tuple(tensor.shape)))
        for name, tensor in load(base, file)
    ]
    tensors = load(base, file)
    write_tensors(folder, {WEIGHTS: layout}, lambda _: next(tensors)[1], metadata=record)


def _compact(
    base: Checkpoint,
    variant: Checkpoint,
    encode: Callable[[str, np.ndarray, np.ndarray], Parts | None],
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield what is stored of each tensor: name, dtype, bits.

    `encode` makes the parts from a name and the bits of base and variant, without rows added.
    """
    for name, info in base.tensors.items():
        before, after = _bits(base.tensor(name)), _bits(variant.tensor(name))
        if np.array_equal(before, after):
            continue
        parts = encode(name, before, after[: info.size])
        if parts is not None and after.size > info.size:
            parts["rows"] = info.dtype, after[info.size :].reshape(-1, *info.shape[1:])
        if parts is None or sum(bits.nbytes for _, bits in parts.values()) >= after.nbytes:
            yield name, info.dtype, after.reshape(variant.tensors[name].shape)
        else:
            yield from ((f"{name}.{part}", *stored) for part, stored in parts.items())


def _one_level(before: np.ndarray, dtype: str, sign: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the bits of base + scale * sign, rounded once; those of base where the scale is 0."""
    edited = np.where(_unpacked(sign, before.size), scale, -scale)
    stored, out = before.view(np.uint8), np.empty_like(before)
    floats.add(stored, stored, np.zeros_like(edited), edited, dtype, out.view(np.uint8))
    return out


def _unpacked(packed: np.ndarray, size: int) -> np.ndarray:
    return np.unpackbits(packed, count=size).view(bool)


def _bits(tensor: Tensor) -> np.ndarray:
    """Return the entries in a row, as whole numbers: -0 is not 0 then, and NaN is NaN."""
    import torch

    return tensor.reshape(-1).view(torch.uint8).numpy().view(f"u{tensor.element_size()}")


def _check_base(base: Checkpoint, file: Path, keys: set[str], record: Mapping[str, Any]) -> None:
    """Refuse a base whose names, or whose weights where both are marked, are not the file's."""
    mark, theirs = base.folder / provenance.FILE, record.get("base", {}).get("sha256")
    ours = json.loads(mark.read_text())["sha256"] if mark.exists() else theirs
    known = all({key, _module(key)} & base.tensors.keys() for key in keys)
    if not known or (theirs and ours != theirs):
        raise UserError(f"{file}: is relative to another base than {base.folder}")


def _params(form: str, record: Mapping[str, Any]) -> Any:
    """Return the parameters that a variant was made with, once `check` has let them pass."""
    method, params = edits.parse(record["method"], record["options"])
    check([form], method, params)
    return params


def _is_edited(name: str, info: TensorInfo, record: Mapping[str, Any]) -> bool:
    return info.is_floating_point and is_selected(record["tensors"], name, info.shape)


def _write(
    file: Path, tensors: Iterable[tuple[str, str, np.ndarray]], record: Mapping[str, Any]
) -> None:
    """Write a safetensors file of (name, dtype, bits), each made when it is its turn."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt", "deltaedit": json.dumps(record)}}
    with TemporaryFile(dir=file.parent) as data, file.open("wb") as stream:
        for name, dtype, bits in tensors:
            start = data.tell()
            data.write(np.ascontiguousarray(bits).data)
            offsets = [start, data.tell()]
            header[name] = {"dtype": dtype, "shape": bits.shape, "data_offsets": offsets}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # the data start at a multiple of 8
        stream.write(len(text).to_bytes(8, "little") + text)
        data.seek(0)
        shutil.copyfileobj(data, stream, 1 << 22)


# --- adapter --------------------------------------------------------------------------------------


def write_adapter(
    base: Checkpoint,
    post: Checkpoint,
    variant: Checkpoint,
    record: Mapping[str, Any],
    target: Path,
    *,
    vectors: Checkpoint | None = None,
) -> None:
    """Write a LoRA adapter that `peft.PeftModel.from_pretrained` puts on base's causal model.

        weight = base + lora_B lora_A,  lora_B = U_r, lora_A = U_r^T delta, in float32

    for a linear layer; of a tall one lora_A holds the singular vectors. Other modules that differ
    from base's are stored whole, as are linear layers whose factors are not smaller. Where post
    adds rows, base's model needs `resize_token_embeddings` before. `vectors` are the delta's
    singular vectors where they are known; other arguments as in `write_sparse`.

    Raises:
        UserError: the variant was not made by low_rank, or differs from base in a tensor that
            is neither weight nor bias of a module as transformers names it.
    """
    from torch.nn import Linear

    params = _params("adapter", record)
    model = _empty_model(base.folder)
    modules, state = dict(model.named_modules()), model.state_dict(keep_vars=True)
    names = [
        name
        for name in base.tensors
        if not np.array_equal(_bits(base.tensor(name)), _bits(variant.tensor(name)))
    ]
    for name in names:
        shape = tuple(state[name].shape) if name in state else None
        if shape != base.tensors[name].shape or not name.endswith((".weight", ".bias")):
            raise UserError(
                "format 'adapter' holds weights and biases of modules;"
                f" {name!r} is none of a {type(model).__name__}"
            )

    def rank_of(name: str) -> int:
        """Return the rank of the factors that a tensor is stored as, 0 if it is not."""
        info, is_linear = base.tensors[name], isinstance(modules[_module(name)], Linear)
        if not is_linear or name.endswith(".bias") or info.shape != variant.tensors[name].shape:
            return 0
        rank = min(low_rank.rank_of(params, full := min(info.shape)), full)
        is_smaller = 4 * rank * sum(info.shape) < info.size * info.itemsize
        return rank if is_smaller and _is_edited(name, info, record) else 0

    ranks = {_module(name): rank for name in names if (rank := rank_of(name))}
    whole_modules = {_module(name) for name in names} - ranks.keys()
    # Tied weights have two names or more, and PEFT looks for each in the file.
    copies = {
        key: name
        for name in base.tensors
        if _module(name) in whole_modules
        for key in state
        if state[key] is state[name]
    }
    saved = sorted({_module(key) for key in copies})
    biases = [name for name in names if _module(name) in ranks and name.endswith(".bias")]

    def tensors() -> Iterator[tuple[str, str, np.ndarray]]:
        for module, rank in ranks.items():
            name = f"{module}.weight"
            left = vectors.tensor(name) if vectors else None
            factors = low_rank.Factors(whole(base, post, name), left)
            b, a = factors.left[:, :rank].numpy(), factors.right[:rank].numpy()
            yield f"{_PEFT}{module}.lora_A.weight", "F32", b.T if factors.tall else a
            yield f"{_PEFT}{module}.lora_B.weight", "F32", a.T if factors.tall else b
        of_layers = {f"{_module(name)}.base_layer.bias": name for name in biases}
        for key, name in (of_layers | copies).items():
            info = variant.tensors[name]
            yield _PEFT + key, info.dtype, _bits(variant.tensor(name)).reshape(info.shape)

    _write(target / "adapter_model.safetensors", tensors(), record)
    r = max(ranks.values(), default=1)
    other_ranks = {module: rank for module, rank in ranks.items() if rank != r}
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": record.get("base", {}).get("repo"),
        "revision": record.get("base", {}).get("revision"),
        "inference_mode": True,
        "r": r,
        "lora_alpha": r,  # their quotient is a factor of lora_B lora_A
        "rank_pattern": other_ranks,
        "alpha_pattern": other_ranks,
        "target_modules": list(ranks) or "dummy-target-modules",  # PEFT's word for none
        "modules_to_save": saved or None,
        "bias": "all" if biases else "none",
        **({"ensure_weight_tying": True} if len(saved) > len(whole_modules) else {}),
    }
    write_json(target / "adapter_config.json", config)


def _empty_model(folder: Path) -> PreTrainedModel:
    """Return the causal model of a checkpoint's config, without weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))


def _module(name: str) -> str:
    return name.rpartition(".")[0]


FORMATS = {"adapter": write_adapter, "packed": write_packed, "sparse": write_sparse}
