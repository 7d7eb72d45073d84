"""Low rank: keep the largest singular values of each matrix of the delta."""

from dataclasses import dataclass

import torch
from torch import Tensor

from deltaedit.edits._counts import share


@dataclass(frozen=True, kw_only=True)
class Params:
    rank: int | None = None  # r, number of singular values kept, or
    sparsity: float | None = None  # share of them that is dropped, in [0, 1]

    def __post_init__(self) -> None:
        if (self.rank is None) == (self.sparsity is None):
            raise ValueError("give either rank or sparsity")
        if self.rank is not None and self.rank < 0:
            raise ValueError(f"rank must be at least 0, got {self.rank}")
        if self.sparsity is not None and not 0 <= self.sparsity <= 1:
            raise ValueError(f"sparsity must be in [0, 1], got {self.sparsity}")


EXAMPLE = Params(sparsity=0.9)


def apply(delta: Tensor, params: Params, *, rng: torch.Generator) -> Tensor:
    """Replace a matrix by its best approximation of rank r.

        out = U_r S_r V_r^T = U_r U_r^T delta,  r = rank, or n - floor(sparsity * n), n = min(shape)

    U_r, the first left singular vectors, are the eigenvectors of delta delta^T (of
    delta^T delta where that is smaller), computed in float64. A tensor of more than two axes is a
    matrix whose rows run over the first; one of fewer has no rank and is returned as it is.

    Args:
        delta: post-trained minus pretrained weights of one tensor, any shape, float32.
        params: see `Params`.
        rng: not used, the method is deterministic.

    Returns:
        The edited delta, shape and dtype of `delta`.

    Scope: tensor. Source: eq. 10 of Tang et al. 2024, after Lu et al. 2024, arXiv:2406.15479.
    Differs: Lu et al. truncate the expert minus a merged model, not post minus base.
    """
    if delta.dim() < 2 or delta.numel() == 0:
        return delta.clone()
    matrix = delta.flatten(1)
    full = min(matrix.shape)
    rank = full - share(params.sparsity, full) if params.rank is None else params.rank
    if rank >= full:
        return delta.clone()
    wide = matrix.double() if matrix.shape[0] <= matrix.shape[1] else matrix.double().T
    vectors = torch.linalg.eigh(wide @ wide.T).eigenvectors[:, full - rank :]  # ascending
    out = vectors @ (vectors.T @ wide)
    out = out if matrix.shape[0] <= matrix.shape[1] else out.T
    return out.to(delta.dtype).reshape(delta.shape).contiguous()
