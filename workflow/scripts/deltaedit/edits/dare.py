"""DARE: drop entries of the delta at random and rescale the rest; with the k of its extension."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Params:
    drop_rate: float  # p, probability that an entry is dropped, in [0, 1)
    dropped_scale: float = 0.0  # k, factor of the dropped entries; 0 is DARE
    rescale: bool = True  # scale the others by (1 - k p)/(1 - p); false: drop only

    def __post_init__(self) -> None:
        if not 0 <= self.drop_rate < 1:
            raise ValueError(f"drop_rate must be in [0, 1), got {self.drop_rate}")
        if not -100 <= self.dropped_scale <= 100:
            raise ValueError(f"dropped_scale must be in [-100, 100], got {self.dropped_scale}")


EXAMPLE = Params(drop_rate=0.9)


def apply(delta: Tensor, params: Params, *, rng: torch.Generator) -> Tensor:
    """Multiply each entry by k with probability p, else by (1 - k p)/(1 - p).

        out = k M * delta + (1 - k p)/(1 - p) (1 - M) * delta,  M ~ Bernoulli(p) elementwise

    The multiplier has mean 1 and variance (k - 1)^2 p/(1 - p); k = 0 is DARE, k = 1 the identity.
    With `rescale` off the second factor is 1: the entries are dropped (scaled by k) only.

    Args:
        delta: post-trained minus pretrained weights of one tensor, any shape, float32.
        params: see `Params`.
        rng: CPU generator of this tensor's stream, so the mask does not depend on the device.

    Returns:
        The edited delta, shape and dtype of `delta`.

    Scope: element. Source: Yu et al. 2024, arXiv:2311.03099, eq. 2; k: Tang et al. 2024, A Unified
    View of Delta Parameter Editing, section 4.2.
    """
    p, k = params.drop_rate, params.dropped_scale
    kept_scale = (1 - k * p) / (1 - p) if params.rescale else 1.0
    dropped = torch.rand(delta.shape, generator=rng).to(delta.device) < p
    return torch.where(dropped, delta * k, delta * kept_scale)
