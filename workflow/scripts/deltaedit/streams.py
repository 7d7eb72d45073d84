"""Randomness: one stream per seed and tensor, the same in any order, chunking, thread or device."""

from __future__ import annotations

import hashlib

import numpy as np

from deltaedit import kernels


class Stream:
    """The random stream of one tensor; draw i is a function of (seed, tensor name, i) alone."""

    def __init__(self, seed: int, name: str) -> None:
        digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
        self.key = np.uint64(int.from_bytes(digest[:8], "little"))

    def child(self, index: int) -> Stream:
        """Return a stream of its own for part `index`; part 0 has this one."""
        return self if index == 0 else Stream(int(self.key), str(index))

    def uniform(self, count: int, start: int = 0) -> np.ndarray:
        """Return draws `start` to `start + count`: float32, uniform in [0, 1)."""
        out = np.empty(count, np.float32)
        kernels.uniforms(self.key, start, out)
        return out
