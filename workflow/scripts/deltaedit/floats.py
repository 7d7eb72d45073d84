"""Arithmetic between checkpoints' tensors as stored: differences, and sums rounded once."""

from __future__ import annotations

import numpy as np

from deltaedit import kernels

_NUMPY = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


def difference(base: np.ndarray, post: np.ndarray, dtype: str, out: np.ndarray) -> None:
    """Write float32(post) - float32(base).

    Args:
        base: stored bytes (uint8).
        post: stored bytes of as many entries.
        dtype: safetensors' name of their type.
        out: float32.
    """
    if dtype == "BF16":
        kernels.subtract_bfloat16(base.view(np.uint16), post.view(np.uint16), out)
    else:
        np.subtract(widen(post, dtype), widen(base, dtype), out=out)


def add(
    base: np.ndarray,
    post: np.ndarray,
    delta: np.ndarray,
    edited: np.ndarray,
    dtype: str,
    out: np.ndarray,
) -> None:
    """Write base + edited, computed in float32 and rounded once to `dtype`.

    Where the edit leaves the delta as it is, the result is post to the bit; where it makes it
    zero, base to the bit.

    Args:
        base: stored bytes (uint8).
        post: stored bytes of as many entries.
        delta: their difference, float32.
        edited: the edited delta, float32.
        dtype: safetensors' name of the type of `base`, `post` and `out`.
        out: bytes to write.
    """
    if dtype == "BF16":
        stored = (array.view(np.uint16) for array in (base, post))
        kernels.add_bfloat16(*stored, delta, edited, out.view(np.uint16))
    elif dtype == "F32":
        stored = (array.view(np.float32) for array in (base, post))
        kernels.add_float32(*stored, delta, edited, out.view(np.float32))
    else:
        unit = f"u{len(out) // len(edited)}"
        changed = _narrow(widen(base, dtype) + edited, dtype).view(unit)
        changed = np.where(edited == 0, base.view(unit), changed)
        out.view(unit)[:] = np.where(edited == delta, post.view(unit), changed)


def widen(stored: np.ndarray, dtype: str) -> np.ndarray:
    """Return stored bytes of `dtype` as float32."""
    if dtype == "BF16":
        out = np.empty(stored.size // 2, np.float32)
        kernels.widen_bfloat16(stored.view(np.uint16), out)
        return out
    if dtype in _NUMPY:
        return stored.view(_NUMPY[dtype]).astype(np.float32, copy=False)
    import torch

    from deltaedit.checkpoints import torch_dtype

    return torch.from_numpy(stored).view(torch_dtype(dtype)).float().numpy()


def _narrow(numbers: np.ndarray, dtype: str) -> np.ndarray:
    if dtype in _NUMPY:
        return numbers.astype(_NUMPY[dtype]).view(np.uint8)
    import torch

    from deltaedit.checkpoints import torch_dtype

    return torch.from_numpy(numbers).to(torch_dtype(dtype)).view(torch.uint8).numpy()
