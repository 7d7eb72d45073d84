"""Quadrature rules integrate what they promise, exactly."""

import math

import pytest

from deltaedit.quadrature import RULES, rule

DEGREE = {"left": 0, "right": 0, "midpoint": 1, "trapezoid": 1, "simpson": 3}
ORDER = {"left": 1, "right": 1, "midpoint": 2, "trapezoid": 2, "simpson": 4}


def integrate(f, name, n):
    nodes, weights = rule(name, n)
    return sum(w * f(t) for t, w in zip(nodes, weights, strict=True))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("n", [2, 4, 10])
def test_polynomials_up_to_the_promised_degree_are_exact(name, n):
    for degree in range(DEGREE.get(name, 2 * n - 1) + 1):
        value = integrate(lambda t, d=degree: t**d, name, n)
        assert value == pytest.approx(1 / (degree + 1), rel=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_the_next_degree_is_not_exact(name):
    degree = DEGREE.get(name, 3) + 1  # gauss_legendre with n = 2 promises 3
    assert abs(integrate(lambda t: t**degree, name, 2) - 1 / (degree + 1)) > 1e-4


@pytest.mark.parametrize("name", ORDER)
def test_the_error_falls_at_the_rule_s_order(name):
    errors = [abs(integrate(math.exp, name, n) - (math.e - 1)) for n in (8, 16)]
    assert errors[0] / errors[1] == pytest.approx(2 ** ORDER[name], rel=0.1)


@pytest.mark.parametrize("name", RULES)
def test_nodes_lie_in_order_in_the_unit_interval(name):
    nodes, weights = rule(name, 4)
    assert nodes == sorted(nodes)
    assert nodes[0] >= 0
    assert nodes[-1] <= 1
    assert len(nodes) == len(weights)


def test_the_paper_s_nodes():
    assert rule("left", 5) == ([0, 0.2, 0.4, 0.6, 0.8], [0.2] * 5)


@pytest.mark.parametrize(
    ("name", "n", "message"),
    [("left", 0, "at least 1"), ("simpson", 3, "even"), ("riemann", 5, "unknown quadrature")],
)
def test_bad_rules_are_refused(name, n, message):
    with pytest.raises(ValueError, match=message):
        rule(name, n)
