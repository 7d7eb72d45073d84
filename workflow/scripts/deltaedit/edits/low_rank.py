"""Low rank: keep the largest singular values of each matrix of the delta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from deltaedit.edits._counts import share
from deltaedit.streams import Stream

if TYPE_CHECKING:
    from torch import Tensor

_STEP = 256  # singular vectors that are multiplied at once


@dataclass(frozen=True, kw_only=True)
class Params:
    rank: int | None = None  # r, number of singular values kept, or
    sparsity: float | None = None  # share of them that is dropped, in [0, 1]
    rounding: Literal["decimal", "binary"] = "decimal"  # how a share becomes a rank

    def __post_init__(self) -> None:
        if (self.rank is None) == (self.sparsity is None):
            raise ValueError("give either rank or sparsity")
        if self.rank is not None and self.rank < 0:
            raise ValueError(f"rank must be at least 0, got {self.rank}")
        if self.sparsity is not None and not 0 <= self.sparsity <= 1:
            raise ValueError(f"sparsity must be in [0, 1], got {self.sparsity}")


EXAMPLE = Params(sparsity=0.9)
TENSORS = "matrices"


class Factors:
    """A matrix as left times right, from which every truncation follows.

    `left` holds the singular vectors of the shorter side in its columns, largest singular value
    first, float32; `right` is left^T times the matrix (transposed where it is tall).
    """

    def __init__(self, delta: Tensor, left: Tensor | None = None) -> None:
        """Decompose `delta` (its rows run over the first axis), unless `left` is known."""
        matrix = delta.flatten(1)
        self.tall = matrix.shape[0] > matrix.shape[1]
        self.left = singular_vectors(delta) if left is None else left
        self.right = self.left.T @ (matrix.T if self.tall else matrix)
        self._sum, self._added = None, 0

    def truncated(self, rank: int) -> Tensor:
        """Return the best approximation of rank `rank`, summed in steps, kept for larger ranks."""
        whole = rank // _STEP
        if self._sum is None or whole < self._added:
            self._sum, self._added = self.left.new_zeros(len(self.left), self.right.shape[1]), 0
        for step in range(self._added, whole):
            some = slice(step * _STEP, (step + 1) * _STEP)
            self._sum.addmm_(self.left[:, some], self.right[some])
        self._added = whole
        rest = slice(whole * _STEP, rank)
        out = self._sum.addmm(self.left[:, rest], self.right[rest])
        return out.T if self.tall else out


def singular_vectors(delta: Tensor) -> Tensor:
    """Return the singular vectors of the shorter side of a matrix, largest singular value first.

    The eigenvectors of delta delta^T (of delta^T delta where that is smaller), computed in
    float64: exact to float32, at a fraction of the time of a singular value decomposition.
    """
    import torch

    matrix = delta.flatten(1)
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    gram = torch.zeros(len(short), len(short), dtype=torch.float64)
    for piece in short.split(1 << 12, dim=1):
        gram.addmm_(piece.double(), piece.double().T)
    return torch.linalg.eigh(gram).eigenvectors.flip(1).float().contiguous()


def has_rank(shape: tuple[int, ...]) -> bool:
    """Whether a tensor of this shape is a matrix here: two axes or more, and not empty."""
    return len(shape) >= 2 and all(shape)


def apply(delta: Tensor, params: Params, *, rng: Stream, factors: Factors | None = None) -> Tensor:
    """Replace a matrix by its best approximation of rank r.

        out = U_r S_r V_r^T = U_r U_r^T delta,  r = rank, or n - floor(sparsity * n), n = min(shape)

    A tensor of more than two axes is a matrix whose rows run over the first; one of fewer has no
    rank and is returned as it is.

    Args:
        delta: post-trained minus pretrained weights of one tensor, any shape, float32.
        params: see `Params`.
        rng: not used, the method is deterministic.
        factors: those of `delta`, where they are known already.

    Returns:
        The edited delta, shape and dtype of `delta`.

    Scope: tensor. Source: eq. 10 of Tang et al. 2024, after Lu et al. 2024, arXiv:2406.15479.
    Differs: Lu et al. truncate the expert minus a merged model, not post minus base, and take
    r = int((1 - sparsity) * n) in binary floats, one less than meant where that falls short:
    `rounding: binary` here.
    """
    if not has_rank(delta.shape):
        return delta.clone()
    full = min(delta.flatten(1).shape)
    rank = rank_of(params, full)
    if rank >= full:
        return delta.clone()
    factors = factors or Factors(delta)
    return factors.truncated(rank).reshape(delta.shape).to(delta.dtype).contiguous()


def rank_of(params: Params, full: int) -> int:
    """Return the rank kept of a matrix whose shorter side is `full`."""
    if params.rank is not None:
        return params.rank
    if params.rounding == "binary":
        return int((1 - params.sparsity) * full)
    return full - share(params.sparsity, full)
