"""Checkpoints in Hugging Face layout, read and written one tensor at a time."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from deltaedit import provenance
from deltaedit.errors import UserError
from deltaedit.files import INDEX, WEIGHTS

DTYPES = {  # safetensors' names
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NOT_SHARED = (INDEX, "README.md", provenance.FILE)  # they tell of these weights alone
_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def generator_for(seed: int, name: str) -> torch.Generator:
    """Return the random stream fixed by (seed, tensor name), whatever the order of tensors."""
    key = hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8]
    return torch.Generator().manual_seed(int.from_bytes(key, "big") >> 1)


class TensorInfo(NamedTuple):
    """What a safetensors header says of a tensor."""

    file: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int  # of its bytes in the file's data


class Checkpoint:
    """The tensors of a checkpoint's folder, by name, read when asked for.

    `tensors` holds one entry per tensor in the order of the files; the second name of tied
    weights is left out, so that they are edited and counted once.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.tensors: dict[str, TensorInfo] = {}
        self._handles: dict[str, safe_open] = {}
        files = sorted(self.folder.glob("*.safetensors"))
        if not files:
            raise UserError(f"{self.folder}: no safetensors file; is it a checkpoint's folder?")
        for file in files:
            self.tensors |= _header(file)
        for alias in self._tied():
            del self.tensors[alias]

    def tensor(self, name: str) -> Tensor:
        """Read the tensor `name`, as stored."""
        return self._opened(self.tensors[name].file).get_tensor(name)

    def layout(self) -> dict[str, list[tuple[str, TensorInfo]]]:
        """Return each file's tensors in the order of their bytes."""
        files: dict[str, list[tuple[str, TensorInfo]]] = {}
        for name, info in sorted(self.tensors.items(), key=lambda item: item[1].offset):
            files.setdefault(info.file, []).append((name, info))
        return dict(sorted(files.items()))

    def _opened(self, file: str) -> safe_open:
        if file not in self._handles:
            self._handles[file] = safe_open(self.folder / file, framework="pt")
        return self._handles[file]

    def _tied(self) -> list[str]:
        """List stored output embeddings that the config says are the input embeddings."""
        config = self.folder / "config.json"
        if not config.exists() or not json.loads(config.read_text()).get("tie_word_embeddings"):
            return []
        heads = [
            name for name in self.tensors if name.endswith(("lm_head.weight", "embed_out.weight"))
        ]
        return [head for head in heads if any(self._equal(head, name) for name in self.tensors)]

    def _equal(self, name: str, other: str) -> bool:
        if name == other or self.tensors[name][1:3] != self.tensors[other][1:3]:
            return False
        return torch.equal(self.tensor(name), self.tensor(other))


def _header(file: Path) -> dict[str, TensorInfo]:
    with file.open("rb") as stream:
        entries = _read_header(stream)
    found = {}
    for name, entry in entries.items():
        if entry["dtype"] not in DTYPES:
            raise UserError(f"{file}: tensor {name!r} has the unsupported type {entry['dtype']}")
        dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
        found[name] = TensorInfo(file.name, dtype, shape, entry["data_offsets"][0])
    return found


def _read_header(stream: BinaryIO) -> dict[str, dict[str, Any]]:
    """Read the header of a safetensors file, up to its data, and leave out the metadata."""
    entries = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    entries.pop("__metadata__", None)
    return entries


def check_match(base: Checkpoint, post: Checkpoint) -> None:
    """Raise UserError unless base and post hold the same tensors, shapes and dtypes."""
    differences = [
        *(f"post lacks {name!r}" for name in base.tensors.keys() - post.tensors.keys()),
        *(f"base lacks {name!r}" for name in post.tensors.keys() - base.tensors.keys()),
    ]
    for name in sorted(base.tensors.keys() & post.tensors.keys()):
        ours, theirs = base.tensors[name], post.tensors[name]
        if ours.shape != theirs.shape:
            differences.append(
                f"{name!r} is {list(ours.shape)} in base, {list(theirs.shape)} in post"
            )
        elif ours.dtype != theirs.dtype:
            differences.append(
                f"{name!r} is {_short(ours.dtype)} in base, {_short(theirs.dtype)} in post"
            )
    if differences:
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        raise UserError(
            f"{base.folder} and {post.folder} do not match: {sorted(differences)[0]}{more};"
            " a delta needs two checkpoints of one architecture, stored in one dtype"
        )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def write_tensors(
    folder: Path,
    layout: Mapping[str, Iterable[tuple[str, TensorInfo]]],
    make: Callable[[str], Tensor],
    *,
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str],
) -> None:
    """Write safetensors files tensor by tensor, with an index unless it is one file's usual name.

    Memory holds one tensor at a time: headers are known before the first byte of data.

    Args:
        folder: where the files go; it exists.
        layout: file name -> (tensor name, shape and dtype), as `Checkpoint.layout` returns it.
        make: tensor name -> the tensor, of that shape and dtype.
        dtype: stored instead of the layout's dtypes.
        metadata: text in each file's header; "format" is added.
    """
    weight_map, total = {}, 0
    for file, entries in layout.items():
        header: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
        entries, end = list(entries), 0
        for name, info in entries:
            stored = dtype or info.dtype
            size = torch.Size(info.shape).numel() * stored.itemsize
            header[name] = {
                "dtype": _DTYPE_NAMES[stored],
                "shape": list(info.shape),
                "data_offsets": [end, end + size],
            }
            end += size
            weight_map[name] = file
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # the data start at a multiple of 8
        with (folder / file).open("wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            for name, info in entries:
                tensor, stored = make(name), dtype or info.dtype
                if tensor.shape != info.shape or tensor.dtype != stored:
                    raise AssertionError(f"{name}: {tensor.dtype} {tensor.shape}, not as laid out")
                stream.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        total += end
    if list(layout) != [WEIGHTS]:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def copy_rest(source: Path, target: Path) -> None:
    """Copy what stands beside the weights: config, generation config, tokenizer, templates."""
    for file in _rest(source):
        shutil.copyfile(file, target / file.name)


def _rest(folder: Path) -> list[Path]:
    return [
        file
        for file in sorted(folder.iterdir())
        if file.is_file()
        and file.suffix != ".safetensors"
        and file.name not in NOT_SHARED
        and not file.name.startswith(".")  # Snakemake's time stamp
    ]


def content_digest(folder: str | Path) -> str:
    """Return the sha256 of what a checkpoint computes: tensors, config, tokenizer; no metadata."""
    total = hashlib.sha256()
    for file in _rest(Path(folder)):
        total.update(file.name.encode() + file.read_bytes())
    for file in sorted(Path(folder).glob("*.safetensors")):
        with file.open("rb") as stream:
            total.update(json.dumps(_read_header(stream), sort_keys=True).encode())
            while piece := stream.read(1 << 22):
                total.update(piece)
    return total.hexdigest()
