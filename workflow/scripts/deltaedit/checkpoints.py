"""Checkpoints in Hugging Face layout, read and written one run of bytes or one tensor at a time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from deltaedit import provenance
from deltaedit.errors import UserError
from deltaedit.files import INDEX, WEIGHTS
from deltaedit.streams import Stream

if TYPE_CHECKING:  # importing torch takes longer than editing a small model
    import torch
    from torch import Tensor

DTYPES = {  # safetensors' names: torch's names and bytes per entry
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "I16": ("int16", 2),
    "I8": ("int8", 1),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
}
NOT_SHARED = (INDEX, "README.md", provenance.FILE)  # they tell of these weights alone


def generator_for(seed: int, name: str) -> Stream:
    """Return the random stream fixed by (seed, tensor name), whatever the order of tensors."""
    return Stream(seed, name)


class TensorInfo(NamedTuple):
    """What a safetensors header says of a tensor."""

    file: str
    dtype: str  # safetensors' name
    shape: tuple[int, ...]
    offset: int  # of its first byte in the file

    @property
    def size(self) -> int:
        """How many entries the tensor has."""
        return prod(self.shape)

    @property
    def itemsize(self) -> int:
        """How many bytes an entry takes."""
        return DTYPES[self.dtype][1]

    @property
    def is_floating_point(self) -> bool:
        """Whether entries are floats; others have no delta."""
        return "F" in self.dtype


def torch_dtype(name: str) -> torch.dtype:
    """Return torch's type of a safetensors name."""
    import torch

    return getattr(torch, DTYPES[name][0])


class Checkpoint:
    """The tensors of a checkpoint's folder, by name, read when asked for.

    `tensors` holds one entry per tensor in the order of the files; the second name of tied
    weights is left out, so that they are edited and counted once.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._files: dict[str, BinaryIO] = {}
        self.tensors = stored_tensors(self.folder)
        for file in self.folder.glob("*.safetensors"):
            self._files[file.name] = file.open("rb", buffering=0)  # read by several threads
        for alias in self._tied():
            del self.tensors[alias]

    def __del__(self) -> None:
        for file in self._files.values():
            file.close()

    def tensor(self, name: str) -> Tensor:
        """Read the tensor `name`, as stored."""
        import torch

        info = self.tensors[name]
        raw = torch.empty(info.size * info.itemsize, dtype=torch.uint8)
        self.read(name, 0, raw.numpy())
        return raw.view(torch_dtype(info.dtype)).reshape(info.shape)

    def read(self, name: str, start: int, out: np.ndarray) -> None:
        """Read the bytes of the tensor `name` from entry `start` on into `out`, filling it."""
        info = self.tensors[name]
        file, at = self._files[info.file], info.offset + start * info.itemsize
        view = memoryview(out).cast("B")
        while len(view):
            done = os.preadv(file.fileno(), [view], at)
            if not done:
                raise UserError(f"{self.folder / info.file}: ends within {name!r}; is it whole?")
            view, at = view[done:], at + done

    def record(self) -> dict[str, Any]:
        """Return what deltaedit wrote of an edited checkpoint into its weights' metadata."""
        file = next(iter(self._files.values()))
        file.seek(0)
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return json.loads(header["__metadata__"]["deltaedit"])

    def layout(self) -> dict[str, list[tuple[str, TensorInfo]]]:
        """Return each file's tensors in the order of their bytes."""
        files: dict[str, list[tuple[str, TensorInfo]]] = {}
        for name, info in sorted(self.tensors.items(), key=lambda item: item[1].offset):
            files.setdefault(info.file, []).append((name, info))
        return dict(sorted(files.items()))

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
        one, two = self.tensors[name], self.tensors[other]
        if name == other or (one.dtype, one.shape) != (two.dtype, two.shape):
            return False
        step = (1 << 22) // one.itemsize
        for start in range(0, one.size, step):
            runs = np.empty((2, min(step, one.size - start) * one.itemsize), np.uint8)
            self.read(name, start, runs[0])
            self.read(other, start, runs[1])
            if not np.array_equal(*runs):
                return False
        return True


def stored_tensors(folder: Path) -> dict[str, TensorInfo]:
    """Return the tensors in a checkpoint's folder by name, in the order of its files.

    Raises:
        UserError: there is no safetensors file, or one with an unsupported type.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(f"{folder}: no safetensors file; is it a checkpoint's folder?")
    return {name: info for file in files for name, info in _header(file).items()}


def _header(file: Path) -> dict[str, TensorInfo]:
    with file.open("rb") as stream:
        entries = _read_header(stream)
        data = stream.tell()
    found = {}
    for name, entry in entries.items():
        if entry["dtype"] not in DTYPES:
            raise UserError(f"{file}: tensor {name!r} has the unsupported type {entry['dtype']}")
        shape, offset = tuple(entry["shape"]), data + entry["data_offsets"][0]
        found[name] = TensorInfo(file.name, entry["dtype"], shape, offset)
    return found


def _read_header(stream: BinaryIO) -> dict[str, dict[str, Any]]:
    """Read the header of a safetensors file, up to its data, and leave out the metadata."""
    entries = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    entries.pop("__metadata__", None)
    return entries


def check_match(base: Checkpoint, post: Checkpoint) -> None:
    """Raise UserError unless base and post hold the same tensors, shapes and dtypes.

    One difference is allowed: post may have more rows, of tokens that post-training added.
    """
    differences = [
        *(f"post lacks {name!r}" for name in base.tensors.keys() - post.tensors.keys()),
        *(f"base lacks {name!r}" for name in post.tensors.keys() - base.tensors.keys()),
    ]
    for name in sorted(base.tensors.keys() & post.tensors.keys()):
        ours, theirs = base.tensors[name], post.tensors[name]
        if ours.shape != theirs.shape and not added_rows(ours, theirs):
            differences.append(
                f"{name!r} is {list(ours.shape)} in base, {list(theirs.shape)} in post"
            )
        elif ours.dtype != theirs.dtype:
            differences.append(
                f"{name!r} is {DTYPES[ours.dtype][0]} in base, {DTYPES[theirs.dtype][0]} in post"
            )
    if differences:
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        raise UserError(
            f"{base.folder} and {post.folder} do not match: {sorted(differences)[0]}{more};"
            " a delta needs two checkpoints of one architecture, stored in one dtype"
        )


def check_same(one: Checkpoint, other: Checkpoint) -> None:
    """Raise UserError unless two checkpoints hold the same tensors, shapes and dtypes."""
    check_match(one, other)
    for name, info in one.tensors.items():
        if info.shape != (shape := other.tensors[name].shape):
            raise UserError(
                f"{one.folder} and {other.folder} do not match: {name!r} is {list(info.shape)} in"
                f" one, {list(shape)} in the other; they need one vocabulary"
            )


def added_rows(base: TensorInfo, post: TensorInfo) -> int:
    """Return how many rows a matrix of post has after those of base; 0 if they differ otherwise."""
    if len(base.shape) != 2 or len(post.shape) != 2 or base.shape[1] != post.shape[1]:
        return 0
    return max(post.shape[0] - base.shape[0], 0)


class Place(NamedTuple):
    """Where a tensor is to be written."""

    file: Path
    offset: int


def create_files(
    folder: Path,
    layout: Mapping[str, Iterable[tuple[str, TensorInfo]]],
    *,
    dtype: str | None = None,
    metadata: Mapping[str, str],
) -> dict[str, Place]:
    """Create safetensors files with headers, and an index unless it is one file's usual name.

    Their data are still to be written, each tensor's at its place.

    Args:
        folder: where the files go; it exists.
        layout: file name -> (tensor name, shape and dtype), as `Checkpoint.layout` returns it.
        dtype: stored instead of the layout's dtypes.
        metadata: text in each file's header; "format" is added.
    """
    places: dict[str, Place] = {}
    total = 0
    for file, entries in layout.items():
        header: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
        end = 0
        for name, info in entries:
            stored = dtype or info.dtype
            size = info.size * DTYPES[stored][1]
            header[name] = {
                "dtype": stored,
                "shape": list(info.shape),
                "data_offsets": [end, end + size],
            }
            places[name] = Place(folder / file, end)
            end += size
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # the data start at a multiple of 8
        data = 8 + len(text)
        for name, _ in entries:
            places[name] = Place(folder / file, data + places[name].offset)
        with (folder / file).open("wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            stream.truncate(data + end)
        total += end
    if list(layout) != [WEIGHTS]:
        weight_map = {name: place.file.name for name, place in sorted(places.items())}
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    return places


def write_tensors(
    folder: Path,
    layout: Mapping[str, Iterable[tuple[str, TensorInfo]]],
    make: Callable[[str], Tensor],
    *,
    dtype: str | None = None,
    metadata: Mapping[str, str],
) -> None:
    """Write safetensors files one tensor at a time: `create_files`, filled with `make(name)`.

    Args:
        folder: where the files go; it exists.
        layout: file name -> (tensor name, shape and dtype), as `Checkpoint.layout` returns it.
        make: tensor name -> the tensor, of that shape and dtype.
        dtype: stored instead of the layout's dtypes.
        metadata: text in each file's header; "format" is added.
    """
    import torch

    places = create_files(folder, layout, dtype=dtype, metadata=metadata)
    for file, entries in layout.items():
        with (folder / file).open("r+b") as stream:
            for name, info in entries:
                tensor, stored = make(name), torch_dtype(dtype or info.dtype)
                if tuple(tensor.shape) != info.shape or tensor.dtype != stored:
                    raise AssertionError(f"{name}: {tensor.dtype} {tensor.shape}, not as laid out")
                stream.seek(places[name].offset)
                stream.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)


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
