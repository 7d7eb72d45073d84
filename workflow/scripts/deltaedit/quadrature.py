"""Quadrature rules on [0, 1], the weights of Riemann sums."""

import numpy as np

RULES = ("left", "right", "midpoint", "trapezoid", "simpson", "gauss_legendre")


def rule(name: str, n: int) -> tuple[list[float], list[float]]:
    """Return the nodes and weights of the quadrature rule `name` on [0, 1].

        int_0^1 f(t) dt ~ sum_i weights[i] f(nodes[i])

    Args:
        name: one of `RULES`.
        n: number of intervals; `trapezoid` has n + 1 nodes, `simpson` n + 1 (n even), the others
            n, one in each interval (`gauss_legendre`: n nodes over the whole range).

    Returns:
        Nodes in increasing order and their weights, which sum to one. Polynomials integrated
        exactly: left and right degree 0; midpoint and trapezoid 1; simpson 3; gauss_legendre
        2 n - 1.

    Raises:
        ValueError: an unknown rule, n < 1, or an odd n for simpson.
    """
    if n < 1:
        raise ValueError(f"the number of intervals must be at least 1, got {n}")
    match name:
        case "left":
            return [i / n for i in range(n)], [1 / n] * n
        case "right":
            return [(i + 1) / n for i in range(n)], [1 / n] * n
        case "midpoint":
            return [(i + 0.5) / n for i in range(n)], [1 / n] * n
        case "trapezoid":
            return [i / n for i in range(n + 1)], [0.5 / n, *[1 / n] * (n - 1), 0.5 / n]
        case "simpson":
            if n % 2:
                raise ValueError(f"simpson needs an even number of intervals, got {n}")
            inner = [(4 if i % 2 else 2) / (3 * n) for i in range(1, n)]
            return [i / n for i in range(n + 1)], [1 / (3 * n), *inner, 1 / (3 * n)]
        case "gauss_legendre":
            nodes, weights = np.polynomial.legendre.leggauss(n)
            return ((nodes + 1) / 2).tolist(), (weights / 2).tolist()
    raise ValueError(f"unknown quadrature rule {name!r}. Known: {', '.join(RULES)}")
