"""TIES' trimming: keep the entries of largest magnitude and drop the others."""

from dataclasses import dataclass

import torch
from torch import Tensor

from deltaedit.edits._counts import share


@dataclass(frozen=True, kw_only=True)
class Params:
    drop_rate: float  # share of the entries of each tensor that is dropped, in [0, 1)

    def __post_init__(self) -> None:
        if not 0 <= self.drop_rate < 1:
            raise ValueError(f"drop_rate must be in [0, 1), got {self.drop_rate}")


EXAMPLE = Params(drop_rate=0.8)


def apply(delta: Tensor, params: Params, *, rng: torch.Generator) -> Tensor:
    """Set the floor(drop_rate * n) entries of smallest magnitude to zero.

        out = M * delta,  M_i = 1 for the n - floor(drop_rate * n) largest |delta_i|

    Exactly that many entries are kept: of equal magnitudes, those that come first.

    Args:
        delta: post-trained minus pretrained weights of one tensor, any shape, float32.
        params: see `Params`.
        rng: not used, the method is deterministic.

    Returns:
        The edited delta, shape and dtype of `delta`.

    Scope: tensor. Source: Yadav et al. 2023, arXiv:2306.01708, step 1; eq. 10 of Tang et al. 2024.
    Differs: the authors trim one vector of all parameters and keep every entry that equals the
    threshold; Tang et al. and mergekit trim each tensor, as here.
    """
    out = delta.clone()
    dropped = share(params.drop_rate, delta.numel())
    if dropped == 0:
        return out
    magnitude = delta.abs().flatten()
    threshold = magnitude.kthvalue(dropped).values
    below = magnitude < threshold
    equal = (magnitude == threshold).nonzero().flatten()
    out.view(-1)[below] = 0
    out.view(-1)[equal[len(equal) - (dropped - int(below.sum())) :]] = 0
    return out
