"""Lines through real and hypothetical scores are those of the formulas, also for published ones."""

import dataclasses
import math

import numpy as np
import pytest

from deltaedit import published, transfer


def test_a_fit_is_what_a_hand_computes():
    fit = transfer.fit([1.0, 2.0, 2.0], [1.0, 1.0, 2.0])
    # sums: xy 7, xx 6, yy 9; y - 7/6 x = (-1, 5, -2)/6, squares 30/36; about the mean 2/3
    assert fit.gamma == pytest.approx(7 / 6)
    assert fit.r2 == pytest.approx(1 - (30 / 36) / (2 / 3))
    assert fit.r2_uncentred == pytest.approx(1 - (30 / 36) / 9)
    # means 4/3 and 5/3: covariance 1/3, variance 2/3
    assert fit.slope == pytest.approx(1 / 2)
    assert fit.intercept == pytest.approx(1)
    assert fit.n == 3


def test_a_fit_is_frozen_and_its_gamma_lies_in_its_interval():
    fit = transfer.fit([10.0, 30.0, 45.0, 80.0], [12.0, 28.0, 50.0, 75.0])
    assert fit.gamma_low < fit.gamma < fit.gamma_high
    with pytest.raises(dataclasses.FrozenInstanceError):
        fit.gamma = 1


def test_points_on_a_line_through_the_origin_fit_exactly():
    x = np.array([0.0, 1.0, 4.0, -2.0])
    fit = transfer.fit(0.75 * x, x)
    assert (fit.gamma, fit.gamma_low, fit.gamma_high) == (0.75, 0.75, 0.75)
    assert (fit.r2, fit.r2_uncentred, fit.slope, fit.intercept) == (1, 1, 0.75, 0)


def test_an_offset_is_the_intercept_and_lowers_only_the_fit_through_the_origin():
    x = np.array([1.0, 2.0, 3.0])
    fit = transfer.fit(x + 5, x)
    assert (fit.slope, fit.intercept) == pytest.approx((1, 5))
    assert fit.r2 < 0 < fit.r2_uncentred


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_the_unit_of_the_scores_does_not_matter(scale):
    y, x = np.array([31.0, 52.0, 77.0, 12.0]), np.array([35.0, 50.0, 71.0, 15.0])
    one, other = transfer.fit(y, x), transfer.fit(scale * y, scale * x)
    assert other.intercept == pytest.approx(scale * one.intercept)
    same = dataclasses.replace(other, intercept=one.intercept)
    assert dataclasses.astuple(same) == pytest.approx(dataclasses.astuple(one))


def test_the_interval_is_of_its_seed_and_narrows_with_points():
    rng = np.random.default_rng(1)
    x = rng.uniform(10, 90, 400)
    y = 0.9 * x + rng.normal(0, 5, 400)
    assert transfer.fit(y, x) == transfer.fit(y, x)
    assert transfer.fit(y, x, seed=1).gamma_low != transfer.fit(y, x).gamma_low
    few, many = transfer.fit(y[:16], x[:16]), transfer.fit(y, x)
    assert many.gamma_low < 0.9 < many.gamma_high
    assert many.gamma_high - many.gamma_low < (few.gamma_high - few.gamma_low) / 3


def test_the_interval_covers_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(transfer, "DRAWS", 400)
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        x = rng.uniform(10, 90, 60)
        fit = transfer.fit(1.1 * x + rng.normal(0, 8, 60), x)
        covered += fit.gamma_low < 1.1 < fit.gamma_high
    assert 180 <= covered <= 199  # 95 %, a little less for few points


def test_draws_that_have_no_gamma_are_left_out():
    fit = transfer.fit([0.0, 0.0, 2.0], [0.0, 0.0, 1.0])
    assert (fit.gamma, fit.gamma_low, fit.gamma_high) == (2, 2, 2)


@pytest.mark.parametrize(
    ("real", "hypothetical", "message"),
    [
        ([1.0], [1.0], "two points or more, got 1"),
        ([], [], "two points or more, got 0"),
        ([1.0, 2.0], [1.0], "2 real scores, but 1 hypothetical ones"),
        ([1.0, math.nan], [1.0, 2.0], "real must be finite numbers, got nan"),
        ([1.0, 2.0], [math.inf, 2.0], "hypothetical must be finite numbers, got inf"),
        ([3.0, 3.0], [1.0, 2.0], "all real scores are 3;"),
        ([1.0, 2.0], [0.5, 0.5], "all hypothetical scores are 0.5;"),
        ([[1.0, 2.0]], [1.0, 2.0], "real must be a list of scores, got 2 dimensions"),
    ],
)
def test_what_has_no_fit_is_refused(real, hypothetical, message):
    with pytest.raises(ValueError, match=f"{message}[^\n]*$"):
        transfer.fit(real, hypothetical)


def test_the_hypothetical_score_adds_the_gain_to_the_new_base():
    assert transfer.hypothetical(0.25, 0.75, 0.5) == 0.5
    found = transfer.hypothetical(np.array([0.25, 0.5]), np.array([0.75, 0.5]), np.array([0.5, 0]))
    assert found.tolist() == [0.5, 1.0]


# --- the paper's own numbers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "n", "gamma", "r2", "r2_uncentred"),
    [
        (["8B"], 11, 1.00873, 0.91352, 0.99313),
        (["70B"], 11, 1.00713, 0.72199, 0.98794),
        (["8B", "70B"], 22, 1.00776, 0.85774, 0.98998),
    ],
)
def test_the_published_table_by_the_formulas_alone(sizes, n, gamma, r2, r2_uncentred):
    # The paper reports gamma = 0.98 and R^2 > 0.99, but over 500 metrics per size.
    table = published.read("param_delta_table1").dropna()
    rows = table[table["size"].isin(sizes)].to_dict("records")
    x = [r["llama31_base"] + r["llama3_post"] - r["llama3_base"] for r in rows]
    y = [r["llama31_base_plus_delta_llama3"] for r in rows]
    fit = transfer.fit(y, x)
    by_hand = sum(a * b for a, b in zip(x, y, strict=True)) / sum(a * a for a in x)
    missed = sum((b - by_hand * a) ** 2 for a, b in zip(x, y, strict=True))
    mean = sum(y) / len(y)
    assert fit.gamma == pytest.approx(by_hand)
    assert fit.r2 == pytest.approx(1 - missed / sum((b - mean) ** 2 for b in y))
    assert fit.r2_uncentred == pytest.approx(1 - missed / sum(b**2 for b in y))
    assert (fit.n, fit.gamma, fit.r2, fit.r2_uncentred) == pytest.approx(
        (n, gamma, r2, r2_uncentred), abs=1e-5
    )
    assert fit.gamma_low < 0.98 < fit.gamma_high, "the paper's value is not excluded"


def test_the_published_tables_are_those_of_the_paper():
    first, second, third = (published.read(f"param_delta_table{i}") for i in (1, 2, 3))
    assert (len(first), len(second), len(third)) == (24, 15, 11)
    gsm8k = first[(first["size"] == "70B") & (first["benchmark"] == "GSM8K")]
    assert gsm8k.iloc[0, 2:].tolist() == [4.4, 93.3, 1.3, 92.3, 95.4]
    assert first[first.isna().any(axis=1)]["benchmark"].tolist() == ["BFCL", "BFCL"]
    assert third.iloc[-1].tolist() == ["New domain", 0.0, 76.7, 0.0, 76.7]
    known = {*first["benchmark"], *second["benchmark"], *third["benchmark"]}
    assert set(published.BENCHMARKS.values()) <= known
