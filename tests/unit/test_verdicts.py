"""A verdict compares a variant's score with that of its post-trained model."""

import math

import pandas as pd
import pytest

from deltaedit import results, verdicts

from .figure_tables import (
    BASE,
    POST,
    bitdelta,
    dare,
    edit,
    expo,
    losses,
    scores,
    slopes,
    together,
)

NONE = pd.DataFrame()
# Errors of 3/32 and 4/32 make one of 5/32, all exact in binary; so are their hundredfold.
ERROR, POSTS_ERROR, BOTH = 3 / 32, 4 / 32, 500 / 32
ENDS = [(BASE, 0.0, 0.0), (POST, 0.5, POSTS_ERROR)]


def judged(*measured, changes=NONE, **more):
    """Return the variants by name, base and post among them, with one task called sums."""
    table = scores(*ENDS, *measured, tasks=["sums"], **more)
    return verdicts.of_variants(table, changes).set_index("variant")


@pytest.mark.parametrize("sign, clear", [(1, "improves"), (-1, "loses")])
def test_a_change_counts_beyond_two_standard_errors_and_not_at_exactly_two(sign, clear):
    at = 0.5 + sign * 2 * BOTH / 100
    for change, verdict in ((0, "keeps"), (-(2**-20), "keeps"), (2**-20, clear)):
        row = judged((dare(0.5), at + sign * change, ERROR)).iloc[-1]
        assert row["verdict"] == verdict
        assert row["score_change"] == pytest.approx(sign * 31.25, abs=1e-3)
        assert row["score_change_stderr"] == BOTH


def test_the_score_is_the_mean_over_tasks_in_percent_with_the_error_of_a_mean():
    table = scores(
        (BASE, 0.0, 0.1),
        (POST, (0.75, 0.25, 0.5, 0.5), 0.25),
        (dare(0.5), (0.25, 0.25, 1.0, 0.0), 0.5),
        tasks="abcd",
    )
    table.loc[table["variant"] == "post", "stderr"] = [3.0, 4.0, 12.0, 84.0]  # hypot: 85
    row = verdicts.of_variants(table, NONE).iloc[-1]
    assert (row["score"], row["score_change"], row["unit"]) == (37.5, -12.5, "points")
    own = 100 * math.sqrt(4 * 0.5**2) / 4
    assert row["score_stderr"] == own == 25
    assert row["score_change_stderr"] == pytest.approx(math.hypot(own, 100 * 85 / 4))


def test_scores_of_which_none_is_an_accuracy_keep_their_unit():
    table = scores((BASE, 0.0, 0.1), (POST, 1.0, 0.5), (dare(0.5), 3.0, 0.5), metric="reward")
    row = verdicts.of_variants(table, NONE).iloc[-1]
    assert (row["score"], row["score_change"], row["unit"]) == (3, 2, "reward")
    assert row["score_change_stderr"] == pytest.approx(0.5)
    assert row["verdict"] == "improves"


def test_beside_accuracies_rewards_do_not_count():
    reward = scores(
        (BASE, 0.0, 0.1), (POST, 0.5, 0.1), (dare(0.5), -9.0, 0.1), tasks=["r"], metric="reward"
    )
    accuracy = scores(*ENDS, (dare(0.5), 0.75, ERROR), tasks=["sums"])
    for table in (together(reward, accuracy), together(accuracy, reward)):
        row = verdicts.of_variants(table, NONE).set_index("method").loc["dare"]
        assert (row["score"], row["score_change"], row["unit"]) == (75, 25, "points")


def test_a_task_of_one_name_in_two_suites_is_two_tasks():
    """Of one suite its values are accuracies, of the other they are not."""
    table = scores(*ENDS, (dare(0.5), 0.75, ERROR), tasks=["t"])
    other = table.assign(suite="other", value=table["value"] - 7)
    row = verdicts.of_variants(together(table, other), NONE).iloc[-1]
    assert (row["score"], row["unit"]) == (75, "points")


def test_a_variant_is_compared_with_post_on_its_own_tasks():
    both = scores(*ENDS, (dare(0.5), 0.75, ERROR), tasks=["hard", "easy"])
    both.loc[(both["task"] == "easy") & (both["variant"] == "post"), "value"] = 1.0
    one = scores((expo(0.1), 0.75, ERROR), tasks=["hard"])
    rows = verdicts.of_variants(together(both, one), NONE).set_index("method")
    assert rows["score_change"][["dare", "expo"]].tolist() == [0, 25]
    assert rows["score_change_stderr"]["expo"] == BOTH


def test_each_pair_has_its_own_post_and_unit():
    table = scores(*ENDS, (dare(0.5), 0.75, ERROR), tasks=["sums"])
    other = table.assign(pair="other", metric="reward", value=2 - 4 * table["value"])
    rows = verdicts.of_variants(together(table, other), NONE)
    rows = rows[rows["method"] == "dare"].set_index("pair")
    assert rows["score_change"].to_dict() == {"demo": 25, "other": -1}
    assert rows["unit"].to_dict() == {"demo": "points", "other": "reward"}


def test_base_and_post_have_a_score_and_no_verdict():
    rows = judged((dare(0.5), 0.75, ERROR))
    assert rows["score"][["base", "post"]].tolist() == [0, 50]
    assert rows["score_change"][["base", "post"]].tolist() == [-50, 0]
    assert rows["verdict"].isna().tolist() == [True, True, False]
    assert rows["method"].tolist() == ["base", "post", "dare"]
    assert rows["options"].tolist() == ["", "", "drop_rate=0.5, dropped_scale=0, rescale=True"]


def test_without_an_error_every_change_is_clear_and_the_error_stays_unknown():
    rows = [(dare(0.25), 0.5), (dare(0.5), 0.53125), (dare(0.75), 0.46875)]
    found = judged(*((which, value, None) for which, value in rows))[2:]
    assert found["verdict"].tolist() == ["keeps", "improves", "loses"]
    assert found["score_change_stderr"].isna().all()


def test_one_unknown_error_makes_that_of_the_mean_unknown():
    table = scores(*ENDS, (dare(0.5), 0.75, ERROR))
    table.loc[len(table) - 1, "stderr"] = None
    assert pd.isna(verdicts.of_variants(table, NONE).iloc[-1]["score_stderr"])


def test_without_scores_there_is_no_verdict_and_without_losses_no_change():
    changes = results.loss_changes(losses([(POST, 0.0, 0.0), (dare(0.5), 0.5, 0.25)]))
    for table in (NONE, scores(*ENDS)):
        row = verdicts.of_variants(table, changes).set_index("method").loc["dare"]
        assert (row["approximate_change"], row["measured_change"]) == (0.5, 0.25)
        assert (row["approximate_stderr"], row["measured_stderr"]) == (0.125, 0.25)
        assert pd.isna(row[["score", "score_change", "score_change_stderr", "verdict"]]).all()
    row = judged((dare(0.5), 0.75, ERROR)).iloc[-1]
    assert pd.isna(row[["loss", "approximate_change", "measured_change"]]).all()
    assert row["verdict"] == "keeps"


def test_a_variant_has_a_row_for_each_loss_by_its_first_quadrature():
    first = losses([(dare(0.5), 0.5, 0.25)])
    other_rule = losses([(dare(0.5), 9.0, 0.25)], "gauss_legendre")
    second = losses([(dare(0.5), 0.75, -1.0)]).assign(loss="second")
    changes = results.loss_changes(together(first, other_rule, second))
    rows = judged((dare(0.5), 0.75, ERROR), changes=changes)
    rows = rows[rows["method"] == "dare"].set_index("loss")
    assert rows["approximate_change"].to_dict() == {"demo": 0.5, "second": 0.75}
    assert rows["measured_change"].to_dict() == {"demo": 0.25, "second": -1}
    assert rows["score"].tolist() == [75, 75]


# --- by method ------------------------------------------------------------------------------------

SCORED = [
    (dare(0.25), 0.875),
    (dare(0.5), 0.5),
    (dare(0.5, seed=1), 0.53125),
    (dare(0.5, sweep="again"), 0.5),
    (dare(0.75), 0.0),
    (dare(0.5, rescale=False), 0.125),
    (expo(0.5), 0.5),
]
CHANGES = together(
    losses(
        [
            (POST, 0.0, 0.0),
            (dare(0.25), 0.0, 0.5),
            (dare(0.75), 0.0, 4.0),
            (dare(0.5, rescale=False), 0.0, -1.0),
            (bitdelta(), 0.0, 1.0),
        ]
    ),
    losses([(dare(0.25), 0.0, 99.0)]).assign(loss="second"),
)


def of_methods(changes=CHANGES, ends=ENDS):
    table = scores(*ends, *((which, value, ERROR) for which, value in SCORED), tasks=["sums"])
    changes = results.loss_changes(changes) if len(changes) else changes
    return verdicts.by_method(verdicts.of_variants(table, changes))


def test_verdicts_are_counted_by_method_and_a_shared_variant_once():
    found = of_methods().set_index("method")
    counts = found[["variants", "improves", "keeps", "loses"]]
    assert counts.T.to_dict("list") == {
        "dare": [4, 1, 2, 1],
        "drop_only": [1, 0, 0, 1],
        "expo": [1, 0, 1, 0],
    }


def test_a_method_has_its_best_and_worst_variant_and_its_range_of_losses():
    found = of_methods().set_index("method")
    row = found.loc["dare"]
    assert row["best"] == dare(0.25)["variant"]
    assert row["worst"] == dare(0.75)["variant"]
    assert (row["best_change"], row["worst_change"], row["unit"]) == (37.5, -50, "points")
    assert row["best_stderr"] == row["worst_stderr"] == BOTH
    assert (row["loss"], row["measured_lowest"], row["measured_highest"]) == ("demo", 0.5, 4)
    alone = found.loc["drop_only"]
    assert alone["best"] == alone["worst"]
    assert alone["measured_lowest"] == alone["measured_highest"] == -1
    assert pd.isna(found.loc["expo"][["loss", "measured_lowest", "measured_highest"]]).all()


def test_methods_of_several_pairs_stay_apart():
    variants = verdicts.of_variants(scores(*ENDS, (dare(0.5), 1.0, ERROR)), NONE)
    found = verdicts.by_method(together(variants, variants.assign(pair="other")))
    assert found[["pair", "method", "variants"]].to_numpy().tolist() == [
        ["demo", "dare", 1],
        ["other", "dare", 1],
    ]


def test_other_tensors_make_another_variant():
    rows = [dare(0.5), dare(0.5, tensors="linear", sweep="linear")]
    table = scores(*ENDS, *((which, 0.5, ERROR) for which in rows))
    assert verdicts.by_method(verdicts.of_variants(table, NONE))["variants"].tolist() == [2]


def test_nothing_judged_is_a_table_without_rows():
    changes = results.loss_changes(CHANGES)
    for table in (NONE, scores(*ENDS)):
        found = verdicts.by_method(verdicts.of_variants(table, changes))
        assert found.empty
        assert list(found) == verdicts.METHOD_COLUMNS


def test_the_two_tables_of_a_study_say_the_same_when_read_back(tmp_path):
    """The rule reads both tables from CSV, where types are guessed."""
    table = scores(*ENDS, *((which, value, ERROR) for which, value in SCORED))
    biased = scores((edit("biased", by="delta"), 0.25, ERROR))
    table = together(table, biased)
    slopes_of = slopes((dare(0.5, rescale=False), {"a": (1.0, 1.0)}, 1.0))
    changes = results.loss_changes(slopes_of)
    wanted = verdicts.by_method(verdicts.of_variants(table, changes))
    for name, rows in (("scores", table), ("changes", changes)):
        results.write_csv(tmp_path / name, rows)
    again = (pd.read_csv(tmp_path / name) for name in ("scores", "changes"))
    found = verdicts.by_method(verdicts.of_variants(*again))
    assert found["method"].tolist() == ["dare", "drop_only", "expo", "biased_delta"]
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False)
