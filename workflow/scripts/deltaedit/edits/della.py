"""DELLA (MAGPRUNE): drop at random, small magnitudes more often, and rescale the rest."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Params:
    drop_rate: float  # p, mean probability in each row that an entry is dropped
    window: float  # probabilities run from p + window/2 (smallest) to p - window/2 (largest)
    rescale: bool = True  # divide each kept entry by its own probability of being kept

    def __post_init__(self) -> None:
        low, high = self.drop_rate - self.window / 2, self.drop_rate + self.window / 2
        if not (self.window >= 0 and low >= 0 and high < 1):
            raise ValueError(
                "drop_rate - window/2 must be at least 0 and drop_rate + window/2 below 1, got"
                f" drop_rate {self.drop_rate} and window {self.window}"
            )


EXAMPLE = Params(drop_rate=0.3, window=0.14)


def drop_probability(delta: Tensor, params: Params) -> Tensor:
    """Return the drop probability of each entry, linear in the rank of its magnitude in its row.

        P_i = p + window/2 - (r_i - 1)/(n - 1) * window,  r_i = 1 (smallest) ... n in a row of n

    Equal magnitudes rank in their order; an entry alone in its row has p.
    """
    n = delta.shape[-1] if delta.dim() else 1
    if n <= 1:
        return torch.full_like(delta, params.drop_rate)
    order = delta.abs().argsort(dim=-1, stable=True)
    rank = torch.empty_like(order).scatter_(-1, order, torch.arange(n).expand_as(order))
    return params.drop_rate + params.window * (0.5 - rank.float() / (n - 1))


def apply(delta: Tensor, params: Params, *, rng: torch.Generator) -> Tensor:
    """Zero each entry with its own probability P_i and divide the others by 1 - P_i.

        out_i = m_i * delta_i / (1 - P_i),  m_i ~ Bernoulli(1 - P_i),  E[out] = delta

    With `rescale` off the others stay as they are. With window 0 this is DARE.

    Args:
        delta: post-trained minus pretrained weights of one tensor, any shape, float32; its rows
            are those of the last axis.
        params: see `Params`.
        rng: CPU generator of this tensor's stream.

    Returns:
        The edited delta, shape and dtype of `delta`.

    Scope: row. Source: Deep et al. 2024, arXiv:2406.11617, as in the authors' code.
    Differs: mergekit rescales a whole tensor by one factor; the authors' ranks lose precision in
    16 bits and break ties in no order.
    """
    probability = drop_probability(delta, params)
    dropped = torch.rand(delta.shape, generator=rng).to(delta.device) < probability
    kept = delta / (1 - probability) if params.rescale else delta
    return torch.where(dropped, torch.zeros_like(delta), kept)
