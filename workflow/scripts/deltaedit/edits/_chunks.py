"""How a method edits a tensor: chunk by chunk, after the passes over the whole that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import fsum
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from deltaedit import kernels
from deltaedit.magnitudes import Magnitudes
from deltaedit.streams import Stream

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass
class Chunk:
    """A run of entries of one tensor, for an editor to edit from `delta` into `out`."""

    delta: np.ndarray  # float32, flat
    out: np.ndarray  # float32, of the same size
    start: int = 0  # index of the first entry in the tensor
    row: int = 1  # length of the tensor's rows
    gradient: np.ndarray | None = None  # of the loss at post, float32
    deltas: Sequence[np.ndarray] = ()  # of further pairs


Editor = Callable[[Chunk], None]
Chunks = Callable[[], Iterable[Chunk]]
Variant = tuple[Any, Stream]  # parameters, random stream of the tensor


def editors(
    method: ModuleType, variants: Sequence[Variant], size: int, chunks: Chunks
) -> list[Editor]:
    """Return each variant's editor of one tensor; they share the counting that they need.

    Args:
        method: a module with `editor`.
        variants: the variants of `method`.
        size: number of the tensor's entries.
        chunks: returns the tensor's chunks anew, in order.
    """
    if hasattr(method, "prepare"):
        return [method.prepare(params, stream, size, chunks) for params, stream in variants]
    if not hasattr(method, "ranks"):
        plain = [method.editor(params, stream) for params, stream in variants]
        return [
            _to_the_norm(editor, chunks) if getattr(params, "rescale", None) == "l1" else editor
            for editor, (params, _) in zip(plain, variants, strict=True)
        ]
    ranks = [method.ranks(params, size) for params, _ in variants]
    magnitudes = Magnitudes(size, ranks, lambda: (chunk.delta for chunk in chunks()))
    return [
        method.editor(params, stream, magnitudes.blocks(wanted))
        for (params, stream), wanted in zip(variants, ranks, strict=True)
    ]


def _to_the_norm(editor: Editor, chunks: Chunks) -> Editor:
    """Return an editor whose result has the L1 norm of the delta: mergekit's rescaling."""
    before, after = np.zeros(kernels.LANES), np.zeros(kernels.LANES)
    for chunk in chunks():
        editor(chunk)
        kernels.add_magnitudes(chunk.delta, chunk.start, before)
        kernels.add_magnitudes(chunk.out, chunk.start, after)
    norms = fsum(before), fsum(after)
    factor = np.float32(norms[0] / norms[1]) if min(norms) >= 1e-7 else np.float32(1)

    def rescaled(chunk: Chunk) -> None:
        editor(chunk)
        np.multiply(chunk.out, factor, out=chunk.out)

    return rescaled


def whole(
    method: ModuleType,
    delta: Tensor,
    params: Any,
    stream: Stream | torch.Generator,
    gradient: Tensor | None = None,
    deltas: Sequence[Tensor] = (),
) -> Tensor:
    """Edit a tensor as one chunk: `apply` of the methods that have an editor.

    Args:
        method: a module with `editor`.
        delta: the delta, float32, any shape and device.
        params: the method's parameters.
        stream: the tensor's random stream; a `torch.Generator` is one too, by its next draw.
        gradient: of the loss at post, shape of `delta`, where the method takes one.
        deltas: of further pairs, shape of `delta`, where the method takes some.

    Returns:
        The edited delta, shape, dtype and device of `delta`.
    """
    import torch

    def flat(tensor: Tensor) -> np.ndarray:
        return tensor.detach().cpu().float().contiguous().numpy().reshape(-1)

    if isinstance(stream, torch.Generator):
        draw = torch.randint(1 << 62, (), generator=stream, device=stream.device)
        stream = Stream(draw.item(), "")
    chunk = Chunk(
        flat(delta),
        np.empty(delta.numel(), np.float32),
        row=delta.shape[-1] if delta.dim() else 1,
        gradient=None if gradient is None else flat(gradient),
        deltas=[flat(other) for other in deltas],
    )
    chunks = [chunk] if delta.numel() else []
    (editor,) = editors(method, [(params, stream)], delta.numel(), lambda: chunks)
    for chunk in chunks:
        editor(chunk)
    return torch.from_numpy(chunk.out).reshape(delta.shape).to(delta)
