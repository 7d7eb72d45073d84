"""Write edited models: base plus an edited delta, in Hugging Face layout, reading the pair once.

Base and post are read in runs that fit a processor's cache, each run is edited for every variant,
and each variant's files are written once. Threads work on different tensors.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from deltaedit import edits, floats, homology, logs
from deltaedit.checkpoints import (
    Checkpoint,
    added_rows,
    check_match,
    check_same,
    copy_rest,
    create_files,
    generator_for,
)
from deltaedit.delta import whole
from deltaedit.edits._chunks import Chunk, Editor, editors
from deltaedit.errors import UserError
from deltaedit.magnitudes import Magnitudes
from deltaedit.parts import is_selected

CHUNK = 1 << 18  # entries


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What variants are made of."""

    base: Checkpoint
    post: Checkpoint
    gradient: Checkpoint | None = None  # of a loss at post
    vectors: Checkpoint | None = None  # singular vectors of the delta's matrices
    deltas: Sequence[tuple[Checkpoint, Checkpoint]] = ()  # base and post of further pairs
    onto: Checkpoint | None = None  # takes the edited delta instead of base

    def __post_init__(self) -> None:
        for base, post in [(self.base, self.post), *self.deltas]:
            check_match(base, post)
        onto = [] if self.onto is None else [self.onto]
        if met := [*(end for pair in self.deltas for end in pair), *onto]:
            for other in [self.post, *met]:
                homology.check(self.base.folder, other.folder)
        for other in [*(base for base, _ in self.deltas), *onto]:
            check_same(self.base, other)

    def taken_by(self, method: ModuleType) -> Sources:
        """Return what a method reads of these."""
        return replace(
            self,
            gradient=self.gradient if edits.takes(method, "gradient") else None,
            deltas=self.deltas if edits.takes(method, "deltas") else (),
            vectors=self.vectors if hasattr(method, "singular_vectors") else None,
        )


def write_variants(
    sources: Sources,
    variants: Sequence[Mapping[str, Any]],
    folders: Sequence[Path],
    provenance: Mapping[str, Any],
    *,
    threads: int | None = None,
    chunk: int = CHUNK,
) -> None:
    """Write variants of a pair, reading it once for each method and selection of tensors.

        W_edit = base + method(delta), in float32, rounded once to the checkpoint's dtype

    Each tensor's randomness is the stream of (seed, tensor name), so that the bytes depend neither
    on the order of tensors nor on runs, threads or shards. Tensors that are not selected, rows
    that post adds to base's, the config and the tokenizer are those of post; on another base, the
    tensors that are not selected and the context of the config are that base's, see
    `homology.config_on`.

    Args:
        sources: the pair, and what else the method takes.
        variants: name, method, options, tensors and seed of each.
        folders: an existing, empty folder for each.
        provenance: what to record in the weights' metadata and in the model cards.
        threads: how many tensors are worked on at once; by default one per processor.
        chunk: entries per run, unless the method wants whole rows and a row is longer.

    Raises:
        UserError: the checkpoints do not match, or no tensor is selected.
    """
    alike: dict[str, list[int]] = {}
    for i, variant in enumerate(variants):
        alike.setdefault(json.dumps([variant["method"], variant["tensors"]]), []).append(i)
    for some in alike.values():
        taken = sources.taken_by(edits.load(variants[some[0]]["method"]))
        chosen, places = [variants[i] for i in some], [folders[i] for i in some]
        _write_alike(taken, chosen, places, provenance, threads, chunk)


def _write_alike(
    sources: Sources,
    variants: Sequence[Mapping[str, Any]],
    folders: Sequence[Path],
    provenance: Mapping[str, Any],
    threads: int | None,
    chunk: int,
) -> None:
    """Write variants of one method and one selection of tensors."""
    writer = _Writer(sources, variants, chunk)
    provenance = {**writer.rows_from_post, **provenance}
    outputs = [
        _Output(sources, variant, params, folder, provenance)
        for variant, params, folder in zip(variants, writer.params, folders, strict=True)
    ]
    names = sorted(sources.post.tensors, key=lambda name: -sources.post.tensors[name].size)
    label = "edit " + variants[0]["name"] + f" and {len(variants) - 1} more" * (len(variants) > 1)
    workers = 1 if writer.is_whole else threads or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:
        written = pool.map(lambda name: writer.write(name, outputs), names)
        for _ in logs.progress(written, label, total=len(names)):
            pass
    for output in outputs:
        output.close()


class _Output:
    """The folder of a variant, with files to be filled run by run."""

    def __init__(
        self,
        sources: Sources,
        variant: Mapping[str, Any],
        params: Any,
        folder: Path,
        provenance: Mapping[str, Any],
    ) -> None:
        record = {
            "method": variant["method"],
            "options": asdict(params),
            "tensors": variant["tensors"],
            "seed": variant["seed"],
            **provenance,
        }
        copy_rest(sources.post.folder, folder)
        if sources.onto is not None:
            homology.write_config_on(sources.post.folder, sources.onto.folder, folder)
        (folder / "README.md").write_text(model_card(variant["name"], record))
        metadata = {"deltaedit": json.dumps(record)}
        self._places = create_files(folder, sources.post.layout(), metadata=metadata)
        files = {place.file for place in self._places.values()}
        self._files = {file: file.open("r+b", buffering=0) for file in files}

    def write(self, name: str, stored: np.ndarray, start: int) -> None:
        """Write bytes of the tensor `name` from its byte `start` on."""
        place = self._places[name]
        view, at = memoryview(stored), place.offset + start
        while len(view):
            done = os.pwrite(self._files[place.file].fileno(), view, at)
            view, at = view[done:], at + done

    def close(self) -> None:
        for file in self._files.values():
            file.close()


class _Buffers(threading.local):
    """Each thread's memory, used again for every run: fresh memory costs more than arithmetic."""

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}

    def get(self, use: str, size: int, dtype: Any = np.uint8) -> np.ndarray:
        if use not in self._arrays or self._arrays[use].size < size:
            self._arrays[use] = np.empty(size, dtype)
        return self._arrays[use][:size]


class _Writer:
    """Reads a pair run by run, edits each run for every variant, and writes it."""

    def __init__(self, sources: Sources, variants: Sequence[Mapping[str, Any]], chunk: int) -> None:
        self.sources, self.chunk = sources, chunk
        self.seeds = [variant["seed"] for variant in variants]
        self.params = [edits.parse(v["method"], v["options"])[1] for v in variants]
        self.method: ModuleType = edits.load(variants[0]["method"])
        self.is_whole = edits.is_whole(self.method)
        self.buffers = _Buffers()
        self._factored: tuple[str, Any] = "", None
        tensors, selection = sources.base.tensors, variants[0]["tensors"]
        self.selected = [
            name
            for name, info in sorted(tensors.items())
            if info.is_floating_point and is_selected(selection, name, info.shape)
        ]
        if not self.selected:
            raise UserError(f"{sources.base.folder}: no tensor is selected by {selection!r}")
        added = {
            name: rows
            for name, info in tensors.items()
            if (rows := added_rows(info, sources.post.tensors[name]))
        }
        self.rows_from_post = {"rows_from_post": added} if added else {}
        for name, rows in added.items():
            logs.note(f"{name}: base lacks the last {rows} rows of post, kept as they are")
        self.of_model = self._count_model()

    def write(self, name: str, outputs: Sequence[_Output]) -> None:
        """Write the tensor `name` of every variant."""
        s, done = self.sources, 0
        if name in self.selected:
            for some in self._together():
                self._write_edited(name, some, outputs)
            done = s.base.tensors[name].size
        elif s.onto is not None:
            done = s.onto.tensors[name].size
            self._copy(s.onto, name, 0, outputs)
        self._copy(s.post, name, done, outputs)

    def _together(self) -> list[list[int]]:
        """List the variants that share a reading: all, or each alone where it takes memory."""
        every = list(range(len(self.params)))
        return [[i] for i in every] if self.is_whole else [every]

    def _write_edited(self, name: str, some: Sequence[int], outputs: Sequence[_Output]) -> None:
        onto, info = self.sources.onto, self.sources.base.tensors[name]
        tensor_editors = self._editors(name, some)
        for chunk in self._chunks(name):
            size, at = chunk.delta.size, chunk.start * info.itemsize
            out = self.buffers.get("out", size * info.itemsize)
            if onto is None:
                base, post = (self.buffers.get(f"{end} 0", out.size) for end in ("base", "post"))
                unchanged = chunk.delta
            else:  # there is no post of that base: what is not 0 is added
                base = post = self._stored("onto", onto, name, chunk.start, size)
                unchanged = np.zeros(size, np.float32)
            for i, edit in zip(some, tensor_editors, strict=True):
                edit(chunk)
                floats.add(base, post, unchanged, chunk.out, info.dtype, out)
                outputs[i].write(name, out, at)

    def _editors(self, name: str, some: Sequence[int]) -> list[Editor]:
        size = self.sources.base.tensors[name].size
        streams = [generator_for(seed, name) for seed in self.seeds]
        if self.is_whole:
            return [self._edit_whole(name, self.params[i], streams[i]) for i in some]
        found: dict[int, Editor] = {}
        if self.of_model is not None:
            for i in some:
                if (params := self.params[i]).over == "model":
                    ranks = self.method.ranks(params, self.of_model.size)
                    blocks = self.of_model.blocks(ranks, equal_above=True)
                    found[i] = self.method.editor(params, streams[i], blocks)
        rest = [i for i in some if i not in found]
        chosen = [(self.params[i], streams[i]) for i in rest]
        made = editors(self.method, chosen, size, lambda: self._chunks(name))
        found |= zip(rest, made, strict=True)
        return [found[i] for i in some]

    def _edit_whole(self, name: str, params: Any, stream: Any) -> Editor:
        """Edit a whole tensor at once; the editor only hands out the result."""
        s, more = self.sources, {}
        delta = whole(s.base, s.post, name)
        if s.vectors is not None and name in s.vectors.tensors:
            more["factors"] = self._factors(name, delta)
        after = self.method.apply(delta, params, rng=stream, **more).numpy().reshape(-1)

        def edit(chunk: Chunk) -> None:
            chunk.out[:] = after[chunk.start : chunk.start + chunk.out.size]

        return edit

    def _factors(self, name: str, delta: Any) -> Any:
        """Return the factors of a matrix, kept for the next variant's rank."""
        if self._factored[0] != name:
            vectors = self.sources.vectors.tensor(name)
            self._factored = name, self.method.Factors(delta, vectors)
        return self._factored[1]

    def _count_model(self) -> Magnitudes | None:
        """Count the magnitudes of all selected tensors, if a variant cuts them together."""
        chosen = [params for params in self.params if getattr(params, "over", "") == "model"]
        if not chosen:
            return None
        size = sum(self.sources.base.tensors[name].size for name in self.selected)
        return Magnitudes(
            size,
            [self.method.ranks(params, size) for params in chosen],
            lambda: (chunk.delta for name in self.selected for chunk in self._chunks(name)),
        )

    # --- reading ----------------------------------------------------------------------------------

    def _chunks(self, name: str) -> Iterator[Chunk]:
        """Yield a tensor's runs, in memory that the next one overwrites."""
        s, info = self.sources, self.sources.base.tensors[name]
        row = info.shape[-1] if info.shape else 1
        step = self.chunk
        if getattr(self.method, "ROWS", False):
            step = max(step // max(row, 1), 1) * max(row, 1)
        for start in range(0, info.size, step):
            size = min(step, info.size - start)
            deltas = [
                self._difference(pair, name, start, size, i)
                for i, pair in enumerate([(s.base, s.post), *s.deltas])
            ]
            gradient = None
            if s.gradient is not None:
                gradient = self.buffers.get("gradient", size, np.float32)
                if name in s.gradient.tensors:
                    s.gradient.read(name, start, gradient)
                else:  # the loss does not depend on this tensor
                    gradient[:] = 0
            edited = self.buffers.get("edited", size, np.float32)
            yield Chunk(deltas[0], edited, start, row, gradient, deltas[1:])

    def _difference(
        self, pair: tuple[Checkpoint, Checkpoint], name: str, start: int, size: int, i: int
    ) -> np.ndarray:
        base, post = pair
        out = self.buffers.get(f"delta {i}", size, np.float32)
        floats.difference(
            self._stored(f"base {i}", base, name, start, size),
            self._stored(f"post {i}", post, name, start, size),
            base.tensors[name].dtype,
            out,
        )
        return out

    def _stored(self, use: str, end: Checkpoint, name: str, start: int, size: int) -> np.ndarray:
        out = self.buffers.get(use, size * end.tensors[name].itemsize)
        end.read(name, start, out)
        return out

    def _copy(self, end: Checkpoint, name: str, start: int, outputs: Sequence[_Output]) -> None:
        """Copy a tensor from entry `start` on."""
        info = end.tensors[name]
        for at in range(start, info.size, self.chunk):
            stored = self._stored("copy", end, name, at, min(self.chunk, info.size - at))
            for output in outputs:
                output.write(name, stored, at * info.itemsize)


def model_card(name: str, record: Mapping[str, Any]) -> str:
    """Return the model card of a variant: what it is and how it was made."""
    options = ", ".join(f"{key} = {value}" for key, value in record["options"].items())
    base = "another base, `onto` below" if "onto" in record else "the pretrained weights again"
    return f"""---
library_name: transformers
tags: [deltaedit, delta-parameter-editing, {record["method"]}]
---

# {name}

An edited model made by deltaedit: the delta (post-trained minus pretrained weights) of the pair
`{record["pair"]}` was edited by `{record["method"]}` ({options}; tensors: {record["tensors"]}; seed
{record["seed"]}) and added to {base}. Config and tokenizer are those of the
post-trained model.

The record below also stands in the metadata of the safetensors files.

```json
{json.dumps(record, indent=2)}
```
"""
