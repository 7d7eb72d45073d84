"""How much of a post-training arrives on another base: real against hypothetical scores.

Section 5.1 of Cao et al. 2025, ParamDelta.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

DRAWS = 10_000  # of the bootstrap
LEVEL = 0.95  # of its interval


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Lines through points (hypothetical, real), all by least squares; see `fit`."""

    gamma: float  # slope of the line through the origin: the coefficient of transfer efficiency
    gamma_low: float  # ends of the bootstrap interval of gamma
    gamma_high: float
    r2: float  # of the line through the origin, against the variation about the mean of real
    r2_uncentred: float  # of the same line, against the variation about 0
    slope: float  # of the line with an intercept
    intercept: float  # in the unit of the scores
    n: int  # points


def hypothetical(base_new: Any, post: Any, base: Any) -> Any:
    """Return the score that a delta would give on a new base if gains simply added up.

        f(base') + f(post) - f(base)

    Args:
        base_new: score of the base that takes the delta, a number or an array.
        post: score of the post-trained model of the delta, in the same unit.
        base: score of the base of the delta, in the same unit.

    Source: Cao et al. 2025, ParamDelta, section 5.1.
    """
    return base_new + post - base


def fit(real: ArrayLike, hypothetical: ArrayLike, *, seed: int = 0) -> Fit:
    """Fit real scores y by hypothetical scores x.

        gamma = sum x y / sum x^2                              (y ~ gamma x)
        r2 = 1 - sum (y - gamma x)^2 / sum (y - mean y)^2      (may be negative)
        r2_uncentred = 1 - sum (y - gamma x)^2 / sum y^2
        slope, intercept: least squares of y ~ intercept + slope x

    The interval of gamma is the percentile bootstrap over points: `DRAWS` times as many points as
    there are, drawn with replacement, and the quantiles of their gammas between which `LEVEL` of
    them lie. It takes points as independent, which metrics of one model are not quite, and knows
    nothing of the error of each score.

    Args:
        real: scores of edited models, one per metric and model.
        hypothetical: as many, from `hypothetical`, in the same unit.
        seed: of the bootstrap's draws.

    Raises:
        ValueError: not as many of one as of the other, fewer than two, a number that is not finite,
            or numbers that are all the same.

    Source: Cao et al. 2025, ParamDelta, section 5.1 and Figure 5. They state neither whether their
    line has an intercept nor which R^2 theirs is, so all are here.
    """
    y, x = _checked("real", real), _checked("hypothetical", hypothetical)
    if len(x) != len(y):
        raise ValueError(f"{len(y)} real scores, but {len(x)} hypothetical ones; give as many")
    if len(y) < 2:
        raise ValueError(f"a fit needs two points or more, got {len(y)}")
    for name, values in (("real", y), ("hypothetical", x)):
        if np.ptp(values) == 0:
            raise ValueError(f"all {name} scores are {values[0]:g}; there is nothing to fit")
    gamma = float(x @ y / (x @ x))
    missed = float(np.sum((y - gamma * x) ** 2))
    from_mean = x - x.mean()
    slope = float(from_mean @ (y - y.mean()) / (from_mean @ from_mean))
    low, high = _interval(x, y, np.random.default_rng(seed))
    return Fit(
        gamma=gamma,
        gamma_low=low,
        gamma_high=high,
        r2=1 - missed / float(np.sum((y - y.mean()) ** 2)),
        r2_uncentred=1 - missed / float(y @ y),
        slope=slope,
        intercept=float(y.mean() - slope * x.mean()),
        n=len(y),
    )


def _checked(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, float)
    if array.ndim != 1:
        raise ValueError(f"{name} must be a list of scores, got {array.ndim} dimensions")
    if not np.all(np.isfinite(array)):
        wrong = array[~np.isfinite(array)][0]
        raise ValueError(f"{name} must be finite numbers, got {wrong}; drop what was not measured")
    return array


def _interval(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Return the quantiles of gamma over draws of points; draws of zeros alone have no gamma."""
    # A draw is how often it has each point.
    counts = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=DRAWS)
    below = counts @ (x * x)
    gammas = (counts @ (x * y))[below > 0] / below[below > 0]
    low, high = np.quantile(gammas, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
