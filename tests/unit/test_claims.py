"""Verdicts follow from the numbers, on results whose answer is known."""

import pandas as pd
import pytest

from deltaedit import claims
from deltaedit.claims import AGREES, DISAGREES, PARTLY, UNDECIDED


def change(method, measured, approximated=None, rule="left", stderr=0.01, **more):
    """Make the row of one variant of one quadrature; its name are its options."""
    name = ",".join(f"{key}={value}" for key, value in more.items()) or str(method)
    return {
        "pair": "p",
        "loss": "l",
        "sweep": method or "ends",
        "variant": name,
        "method": method,
        "quadrature": rule,
        "measured_change": measured,
        "approximate_change": measured if approximated is None else approximated,
        "measured_stderr": stderr,
        "approximate_stderr": stderr,
        "first_order": 0.0,
        **more,
    }


def _scores(values):
    """Make scores of two tasks from (sweep, variant) -> two scores."""
    rows = [
        {"pair": "p", "sweep": sweep, "variant": variant, "suite": "s", "task": task, "value": v}
        for (sweep, variant), found in values.items()
        for task, v in zip("xy", found, strict=True)
    ]
    return pd.DataFrame(rows)


def findings(claim, changes, table=None):
    """Return what one claim finds, in order."""
    frame = pd.DataFrame(changes)
    frame["method"] = frame["method"].astype("string")
    first = frame[frame["quadrature"] == "left"]
    by_task = claims._by_task(pd.DataFrame() if table is None else table)
    return list(claim(claims.Evidence(first, frame, by_task)))


@pytest.mark.parametrize(("dare", "verdict"), [((0.01, 0.12), AGREES), ((0.01, 0.2), DISAGREES)])
def test_dare_is_compared_with_dropping_alone_at_the_same_rate(dare, verdict):
    rows = [
        change("dare", value, drop_rate=p, dropped_scale=0.0, rescale=rescale)
        for rescale, values in ((True, dare), (False, (0.5, 1.0)))
        for p, value in zip((0.5, 0.9), values, strict=True)
    ]
    rows.append(change("dare", 70.0, drop_rate=0.9, dropped_scale=-1.0, rescale=True))
    [found] = findings(claims.near_zero, rows)
    assert found.measured == pytest.approx((dare[0] / 0.5 + dare[1]) / 2)
    assert found.verdict == verdict
    assert findings(claims.near_zero, rows[:2]) == [], "nothing to compare with"


def test_a_rise_within_its_error_is_undecided():
    for value, verdict in ((0.5, AGREES), (-0.5, DISAGREES), (0.015, UNDECIDED)):
        rows = [change("low_rank", 0.7, sparsity=0.9), change("low_rank", value, sparsity=0.5)]
        [found] = findings(claims.losing_edits, rows)
        assert (found.measured, found.verdict) == (
            (value, PARTLY) if value < 0 else (value, verdict)
        )
    [found] = findings(claims.losing_edits, [change("low_rank", -0.5, sparsity=0.5)])
    assert found.verdict == DISAGREES


def test_only_high_rates_of_ties_and_plain_bitdelta_are_meant():
    plain = {"scale_multiple": 1.0, "magnitude": "mean", "blocks": 1.0}
    rows = [
        change("ties", -1.0, drop_rate=0.5),
        change("ties", 1.0, drop_rate=0.7),
        change("bitdelta", -1.0, **plain | {"blocks": 8.0}),
        change("bitdelta", 2.0, **plain),
    ]
    found = {each.claim: each for each in findings(claims.losing_edits, rows)}
    assert [each.measured for each in found.values()] == [2.0, 1.0]
    assert {each.verdict for each in found.values()} == {AGREES}


def test_extrapolation_tells_where_the_loss_turns_and_where_the_score_peaks():
    losses = {-0.5: 0.5, 0.5: -0.25, 1.0: -0.5, 2.0: -0.125, 3.0: 0.25}
    rows = [change("expo", value, alpha=alpha) for alpha, value in losses.items()]
    values = {("expo", f"alpha={a}"): (0.4 + (a == 0.5), 0.4) for a in losses}
    table = _scores(values | {("ends", "post"): (0.5, 0.5)})
    found = findings(claims.extrapolation, rows, table)
    assert (found[0].measured, found[0].verdict) == (-0.25, AGREES), "at alpha = 0.5"
    assert [each.measured for each in found[1:]] == [-0.5, 1.0, 3.0, 0.5, 0.0]
    assert "s/x" in found[4].quantity
    assert "s/y" in found[5].quantity
    rising = [change("expo", -value, alpha=alpha) for alpha, value in losses.items()]
    assert findings(claims.extrapolation, rising)[0].verdict == DISAGREES
    within = [change("expo", -0.015, alpha=0.2)]
    assert findings(claims.extrapolation, within)[0].verdict == UNDECIDED


def test_breaking_is_to_lose_half_of_what_post_training_gained_on_a_task():
    rows = [
        change("biased", 2.0, by=by, dropped_scale=k)
        for by in ("product", "delta")
        for k in (0.5, 1.5)
    ]
    ends = {("ends", "base"): (0.1, 0.0), ("ends", "post"): (0.9, 1.0)}
    values = {("biased", row["variant"]): (0.8, 0.9) for row in rows}
    values["biased", rows[0]["variant"]] = (0.8, 0.4)
    found = findings(claims.breaking_edits, rows, _scores(ends | values))
    assert [each.verdict for each in found] == [AGREES, DISAGREES, AGREES, AGREES]
    assert "s/y" in found[0].quantity
    assert "0.40" in found[0].quantity
    assert findings(claims.breaking_edits, rows) == [], "not evaluated"


def test_the_first_order_share_is_of_changes_beyond_their_error():
    rows = [
        change("dare", 1.0, drop_rate=0.9) | {"first_order": 0.1},
        change("dare", 0.001, drop_rate=0.1) | {"first_order": 5.0},
        change("expo", -2.0, alpha=0.2) | {"first_order": -1.8},
        change(None, 9.0, variant="base"),
    ]
    found = findings(claims.first_order, rows)
    assert [(each.measured, each.verdict) for each in found] == [(0.1, DISAGREES), (0.9, AGREES)]


def test_signs_and_sizes_are_held_against_the_scores():
    rows = [change("dare", value, p=p) for p, value in ((1, -1.0), (2, 1.0), (3, 2.0), (4, 0.005))]
    values = {("ends", "post"): (0.5, 0.5), ("dare", "p=1"): (0.75, 0.5)}
    values |= {("dare", "p=2"): (0.5, 0.5), ("dare", "p=3"): (0.25, 0.25), ("dare", "p=4"): (0, 0)}
    negative, positive, rank = findings(claims.predicts, rows, _scores(values))
    assert (negative.measured, negative.verdict) == (1.0, AGREES)
    assert (positive.measured, positive.verdict) == (0.5, DISAGREES), "p=2 loses nothing"
    assert (rank.measured, rank.verdict) == (-1.0, AGREES)


def test_each_quadrature_is_held_against_the_measured_change():
    rows = [
        change("dare", 1.0, 0.75, p=1),
        change("dare", 2.0, 1.5, p=2),
        change("dare", 1e-6, -1e-6, p=3),
        change("dare", 1.0, 1.01, "gauss_legendre", p=1),
        change("dare", 2.0, -2.0, "gauss_legendre", p=2),
        change("dare", 1.0, 1.01, "gauss_legendre", p=3),
        change(None, 9.0, 0.0, variant="base"),
    ]
    left, left_sign, gauss, gauss_sign = findings(claims.approximation, rows)
    assert (left.measured, left.verdict) == (0.25, DISAGREES)
    assert (left_sign.measured, left_sign.verdict) == (1.0, AGREES), "p=3 is within its error"
    assert gauss.measured == pytest.approx(0.01)
    assert gauss.verdict == AGREES
    assert gauss_sign.measured == pytest.approx(2 / 3)
    assert gauss_sign.verdict == DISAGREES


def test_the_intensity_is_held_against_both_orders():
    rows = [change("dare", 2.0, p=1) | {"expected_second_order": 1.0, "second_order": 1.1}]
    path, measured = findings(claims.intensity, rows)
    assert path.measured == pytest.approx(1 / 11)
    assert path.verdict == AGREES
    assert (measured.measured, measured.verdict) == (0.5, DISAGREES)


def test_all_pairs_and_losses_are_weighed():
    rows = [change("low_rank", 1.0, sparsity=0.5) | {"pair": pair} for pair in "qp"]
    changes = pd.DataFrame(rows)
    found = claims.weigh(changes, pd.DataFrame())
    raised = found[found["claim"] == "low rank raises the loss"]
    assert list(raised["pair"]) == ["q", "p"]
    assert list(claims.weigh(changes[changes["method"] == "dare"], pd.DataFrame()).columns) == [
        "claim", "pair", "loss", "quantity", "approximated", "measured", "verdict"
    ]  # fmt: skip
