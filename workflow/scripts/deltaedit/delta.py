"""The delta of a pair: post minus base, stored exactly, with statistics per tensor."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deltaedit import floats, logs
from deltaedit.checkpoints import (
    DTYPES,
    Checkpoint,
    TensorInfo,
    check_match,
    create_files,
    write_tensors,
)
from deltaedit.edits import low_rank
from deltaedit.errors import UserError
from deltaedit.files import WEIGHTS
from deltaedit.parts import part_of

if TYPE_CHECKING:
    from torch import Tensor

PATCH = "patch.safetensors"
STATISTICS = "statistics.csv"
_RUN = 1 << 18  # entries read at once


class Delta(Checkpoint):
    """A stored delta: float32 tensors, and where base + delta rounds away from post, a patch."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__(Path(folder) / "tensors")
        self._patch_file = Path(folder) / PATCH

    @cached_property
    def _patches(self) -> dict[str, Tensor]:
        from safetensors.torch import load_file

        return load_file(self._patch_file) if self._patch_file.exists() else {}

    def post(self, name: str, base: Tensor) -> Tensor:
        """Return the tensor `name` of post to the bit, given that of base, rows added apart."""
        import torch

        delta = self.tensor(name)
        out = torch.where(delta == 0, base, (base.float() + delta).to(base.dtype))
        if f"{name}.index" in self._patches:
            out.view(-1)[self._patches[f"{name}.index"]] = self._patches[f"{name}.value"]
        return out


def extract(base: Checkpoint, post: Checkpoint, folder: Path) -> None:
    """Write the delta of a pair to `folder`: tensors, patch and statistics.

        delta = float32(post) - float32(base)

    The difference of two floats is not always a float. Where `base + delta`, rounded to the
    checkpoint's dtype, is not post to the bit, index and value of post are kept in the patch.
    Tensors that are not floating point have no delta, nor do rows that post adds to base's.

    Raises:
        UserError: base and post do not match, or hold a number that is not finite.
    """
    import torch
    from safetensors.torch import save_file

    check_match(base, post)
    layout = {
        file: floating
        for file, entries in base.layout().items()
        if (floating := [entry for entry in entries if entry[1].is_floating_point])
    }
    (folder / "tensors").mkdir()
    metadata = {"content": "float32(post) - float32(base)"}
    places = create_files(folder / "tensors", layout, dtype="F32", metadata=metadata)
    names = [name for entries in layout.values() for name, _ in entries]
    rows, patches = [], {}
    for name in logs.progress(names, "extract delta"):
        statistics = _Statistics()
        wrong = [np.empty(0, np.int64)]
        with places[name].file.open("r+b") as stream:
            stream.seek(places[name].offset)
            for start, before, after, delta in runs(base, post, name):
                if not np.isfinite(delta).all():
                    raise UserError(
                        f"{base.folder}, {post.folder}: {name!r} holds NaN or infinite numbers"
                    )
                stream.write(delta.data)
                again = np.empty_like(after)
                dtype = base.tensors[name].dtype
                floats.add(before, before, np.zeros_like(delta), delta, dtype, again)
                wrong.append(start + _differing(again, after, base.tensors[name].itemsize))
                statistics.add(floats.widen(before, dtype), delta)
        index = np.concatenate(wrong)
        if len(index):
            patches[f"{name}.index"] = torch.from_numpy(index)
            patches[f"{name}.value"] = post.tensor(name).flatten()[index]
        info = base.tensors[name]
        layer, group = part_of(name)
        rows.append(
            {
                "tensor": name,
                "layer": layer,
                "group": group,
                "dtype": DTYPES[info.dtype][0],
                "shape": "x".join(map(str, info.shape)),
                "size": info.size,
                **statistics.values(),
                "patched": len(index),
            }
        )
    if patches:
        save_file(patches, folder / PATCH)
    with (folder / STATISTICS).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def runs(
    base: Checkpoint, post: Checkpoint, name: str
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the runs of one tensor: first entry, stored bytes of base and post, delta (float32)."""
    info = base.tensors[name]
    for start in range(0, info.size, _RUN):
        size = min(_RUN, info.size - start)
        stored = np.empty((2, size * info.itemsize), np.uint8)
        base.read(name, start, stored[0])
        post.read(name, start, stored[1])
        delta = np.empty(size, np.float32)
        floats.difference(*stored, info.dtype, delta)
        yield start, *stored, delta


def whole(base: Checkpoint, post: Checkpoint, name: str) -> Tensor:
    """Return the delta of one tensor, float32, shape of the tensor in base."""
    import torch

    info = base.tensors[name]
    delta = np.empty(info.size, np.float32)
    for start, _, _, run in runs(base, post, name):
        delta[start : start + run.size] = run
    return torch.from_numpy(delta).reshape(info.shape)


def decompose(base: Checkpoint, post: Checkpoint, folder: Path) -> None:
    """Write the singular vectors of every matrix of the delta to `folder`, under its name.

    Those of its shorter side, n, of which all truncations follow: n x n, float32, in columns,
    largest singular value first.
    """
    matrices = {
        name: min(info.shape[0], info.size // info.shape[0])
        for name, info in base.tensors.items()
        if info.is_floating_point and low_rank.has_rank(info.shape)
    }
    layout = [(name, TensorInfo(WEIGHTS, "F32", (n, n), 0)) for name, n in matrices.items()]
    done = iter(logs.progress(matrices, "decompose delta"))

    def make(name: str) -> Tensor:
        next(done)
        return low_rank.singular_vectors(whole(base, post, name))

    write_tensors(folder, {WEIGHTS: layout}, make, metadata={"content": "singular vectors"})


def _differing(one: np.ndarray, other: np.ndarray, itemsize: int) -> np.ndarray:
    """Return the entries that are not the same bits."""
    return np.flatnonzero(one.view(f"u{itemsize}") != other.view(f"u{itemsize}"))


class _Statistics:
    """Size, norms (L2), magnitudes and the share of exact zeros of a tensor, run by run."""

    def __init__(self) -> None:
        self.size = self.zeros = 0
        self.squares = self.base_squares = self.magnitudes = self.largest = 0.0

    def add(self, base: np.ndarray, delta: np.ndarray) -> None:
        self.size += delta.size
        self.zeros += delta.size - np.count_nonzero(delta)
        self.squares += np.square(delta, dtype=np.float64).sum()
        self.base_squares += np.square(base, dtype=np.float64).sum()
        magnitudes = np.abs(delta)
        self.magnitudes += magnitudes.sum(dtype=np.float64)
        self.largest = max(self.largest, float(magnitudes.max()))

    def values(self) -> dict[str, float]:
        size = max(self.size, 1)
        return {
            "norm": float(self.squares) ** 0.5,
            "base_norm": float(self.base_squares) ** 0.5,
            "mean_magnitude": float(self.magnitudes) / size,
            "max_magnitude": self.largest,
            "zero_share": self.zeros / size,
        }
