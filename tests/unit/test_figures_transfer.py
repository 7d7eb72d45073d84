"""What a delta gains on another base is drawn as measured, beside what it should gain."""

import dataclasses
import math
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
import yaml

from deltaedit import config as configuration
from deltaedit import figures, published, quadrature, results, study, transfer
from deltaedit.errors import UserError
from deltaedit.figures import _onto, _style, accuracy_by_scale, loss_by_scale, transfer_efficiency

from ..project import ROOT
from .figure_tables import check_text, texts
from .param_delta_tables import (
    BASE,
    CARRIED,
    LLAMA,
    LOST,
    NEW,
    POST,
    as_llama,
    ends,
    put,
    scores,
    together,
)

KINDS = ("transfer_efficiency", "accuracy_by_scale")


def make(kind, table=CARRIED, **options):
    module, params = figures.parse(kind, options)
    return module.draw(module.select(table, params), params)


def efficiency(table=CARRIED, **options):
    return transfer_efficiency.select(table, transfer_efficiency.Params(**options))


def along(table=CARRIED):
    return accuracy_by_scale.select(table, accuracy_by_scale.Params())


# --- contract -------------------------------------------------------------------------------------


@pytest.fixture(params=KINDS)
def kind(request):
    return figures.load(request.param)


def test_a_kind_keeps_the_contract(kind, tmp_path):
    table, params, before = as_llama(CARRIED), kind.Params(), dict(matplotlib.rcParams)
    kept = table.copy()
    drawn = kind.select(table, params)
    pd.testing.assert_frame_equal(table, kept)
    assert len(drawn)
    assert not drawn.duplicated().any()
    kept = drawn.copy()
    files = []
    results.write_csv(tmp_path / "drawn.csv", drawn)
    for i, numbers in enumerate((drawn, pd.read_csv(tmp_path / "drawn.csv"))):
        files.append((tmp_path / f"{i}.svg", tmp_path / f"{i}.png"))
        _style.save(kind.draw(numbers, params), *files[-1])
    pd.testing.assert_frame_equal(drawn, kept)
    assert dict(matplotlib.rcParams) == before
    for one, other in zip(*files, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert kind.CAPTION.endswith(".")
    assert "\n" not in kind.CAPTION


@pytest.mark.parametrize("missing", ["method", "onto", "columns", "plain"])
def test_nothing_to_draw_is_said_in_one_line(kind, missing):
    table = CARRIED
    match missing:
        case "method":
            table = table[~table["method"].isin(["combine"])]
        case "onto":
            table = table[table["onto"].isna()]
        case "columns":
            table = table[table["sweep"] == "ends"].drop(columns=["onto", "deltas", "weights"])
        case "plain":
            table = table[(table["sweep"] != "carry")]
    with pytest.raises(UserError, match=r"^nothing to draw: [^\n]+$"):
        kind.select(table, kind.Params())


def test_variants_that_edit_other_tensors_are_not_averaged(kind):
    other = scores((put("old", "new", sweep="linear", tensors="linear"), 0.5))
    with pytest.raises(UserError, match=r"edit different tensors \(all and linear\)"):
        kind.select(together(CARRIED, other), kind.Params())


# --- real against hypothetical --------------------------------------------------------------------


def test_hypothetical_scores_are_those_of_the_formula_in_percent():
    drawn = efficiency()
    expected = [100 * (n + p - b) for n, p, b in zip(NEW, POST, BASE, strict=True)]
    assert drawn["hypothetical"].tolist() == expected
    assert drawn["real"].tolist() == [62.5, 75.0, 37.5]
    assert set(drawn["unit"]) == {"%"}
    assert drawn["hypothetical_stderr"].tolist() == pytest.approx([math.sqrt(3)] * 3)
    assert drawn["real_stderr"].tolist() == pytest.approx([1.0] * 3)
    assert set(drawn["source"]) == {"ours"}


def test_several_deltas_add_their_weighted_gains():
    drawn = efficiency(weights=(0.5, 0.5))
    gains = [0.5 * (p - b) + 0.5 * (0.875 - n) for p, b, n in zip(POST, BASE, NEW, strict=True)]
    expected = [100 * (n + gain) for n, gain in zip(NEW, gains, strict=True)]
    assert drawn["hypothetical"].tolist() == pytest.approx(expected)
    assert drawn["real"].tolist() == [75, 75, 50]
    assert drawn["hypothetical_stderr"].tolist() == pytest.approx([math.sqrt(2)] * 3)


def test_other_weights_have_their_own_figure_and_unknown_ones_none():
    assert efficiency(weights=(0.5,))["real"].tolist() == [50, 62.5, 25]
    with pytest.raises(UserError, match=r"no variant with the weights \[0\.75\]"):
        efficiency(weights=(0.75,))


def test_the_fit_of_a_panel_is_in_its_rows():
    table = CARRIED.copy()
    is_sum = table["variant"] == "carry-new-1.0"
    table.loc[is_sum & (table["task"] == "facts"), "value"] = 0.5
    drawn = efficiency(table)
    fit = dataclasses.asdict(transfer.fit([62.5, 50.0, 37.5], [62.5, 75.0, 37.5]))
    for name, value in fit.items():
        assert drawn[name].tolist() == pytest.approx([value] * 3)


def test_too_few_points_have_no_fit_and_are_drawn():
    table = CARRIED[CARRIED["task"] == "sums"]
    drawn = efficiency(table)
    assert drawn["gamma"].isna().all()
    assert drawn["n"].tolist() == [1]
    (axes,) = make("transfer_efficiency", table).axes
    assert "1 points" in [text.get_text() for text in axes.texts]


def test_scores_that_are_no_shares_have_a_panel_of_their_own():
    reward = scores(
        (put("old", "new"), 3.0), tasks=["reward"], metric="expected_reward",
    )  # fmt: skip
    both = [ends(p, 1.0, 2.5, tasks=["reward"], metric="expected_reward") for p in ("old", "new")]
    drawn = efficiency(together(CARRIED, reward, *both))
    (row,) = drawn[drawn["task"] == "reward"].to_dict("records")
    assert (row["unit"], row["real"], row["hypothetical"]) == ("expected_reward", 3.0, 2.5)
    assert row["n"] == 1
    figure = make("transfer_efficiency", together(CARRIED, reward, *both))
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "hypothetical score (%)",
        "hypothetical score (expected_reward)",
    ]


@pytest.mark.parametrize("gone", [("new", "base"), ("old", "post"), ("old", "base")])
def test_without_an_end_there_is_nothing_to_compare_with(gone):
    pair, end = gone
    is_gone = (CARRIED["pair"] == pair) & (CARRIED["variant"] == end)
    with pytest.raises(UserError, match="no scores of both ends of the pairs, or of base new"):
        efficiency(CARRIED[~is_gone])


def test_a_task_that_is_not_measured_everywhere_is_left_out():
    is_gone = (CARRIED["pair"] == "new") & (CARRIED["task"] == "facts")
    assert efficiency(CARRIED[~is_gone])["task"].tolist() == ["sums", "poems"]


# --- published points -----------------------------------------------------------------------------


def test_published_points_are_those_of_the_table_with_a_fit_of_their_own():
    drawn = efficiency(as_llama(CARRIED))
    theirs = drawn[drawn["source"] == "published"]
    assert len(theirs) == 11
    row = theirs[theirs["task"] == "GSM8K"].iloc[0]
    assert row["real"] == 78.5
    assert row["hypothetical"] == pytest.approx(50.0 + 81.4 - 50.3)
    assert theirs["gamma"].iloc[0] == pytest.approx(1.00873, abs=1e-5)
    ours = drawn[drawn["source"] == "ours"]
    assert ours["gamma"].iloc[0] == pytest.approx(1)
    assert ours["n"].iloc[0] == 3


@pytest.mark.parametrize(
    "names",
    [
        {"old": ("3", "8B")},
        {"new": ("3.1", "8B")},
        {"old": ("3", "8B"), "new": ("3.1", "70B")},
        {"old": ("3.1", "8B"), "new": ("3", "8B")},
    ],
)
def test_of_other_pairs_nothing_is_published(names):
    assert set(efficiency(as_llama(CARRIED, names))["source"]) == {"ours"}


def test_of_other_weights_nothing_is_published():
    assert set(efficiency(as_llama(CARRIED), weights=(0.5,))["source"]) == {"ours"}


def test_the_hub_s_newer_names_are_the_same_models():
    table = as_llama(CARRIED)
    for name in ("base_repo", "post_repo"):
        table[name] = table[name].str.replace("Meta-Llama-3.1", "Llama-3.1")
    assert (efficiency(table)["source"] == "published").sum() == 11
    assert _onto.size_of(table, "new", "3.1") == "8B"
    assert _onto.size_of(table, "new", "3") is None


def test_published_points_are_hollow_and_said_in_the_legend():
    figure = make("transfer_efficiency", as_llama(CARRIED))
    (axes,) = figure.axes
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    assert [len(line.get_xdata()) for line in hollow] == [11]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    tasks = ["sums (acc)", "facts (acc)", "poems (acc)"]
    assert legend == [*tasks, "equal", "γ hypothetical", "published"]
    said = " ".join(text.get_text() for text in axes.texts)
    assert r"$\gamma$ = 1.00 [1.00, 1.00]" in said
    assert r"published: $\gamma$ = 1.01" in re.sub(r"\s+", " ", said)


def test_the_lines_are_equality_and_gamma_on_equal_axes():
    table = CARRIED.copy()
    table.loc[table["variant"] == "carry-new-1.0", "value"] *= 0.5
    (axes,) = make("transfer_efficiency", table).axes
    assert axes.get_xlim() == axes.get_ylim()
    slopes = [
        np.polyfit(line.get_xdata(), line.get_ydata(), 1)[0]
        for line in axes.lines
        if line.get_linestyle() in (":", "-") and len(line.get_xdata()) > 1
    ]
    assert slopes == pytest.approx([1, 0.5])
    assert axes.get_title(loc="left") == "Δ old on new"


# --- along the scale ------------------------------------------------------------------------------


def test_scores_along_alpha_stand_beside_the_levels():
    drawn = along()
    sums = drawn[drawn["task"] == "sums"]
    curve = sums[sums["what"] == "sum"]
    assert curve["alpha"].tolist() == [0.5, 1, 1.5]
    assert curve["score"].tolist() == [50, 62.5, 25]
    levels = sums[sums["what"] != "sum"]
    assert dict(zip(levels["what"], levels["score"], strict=True)) == {
        "base'": 25,
        "post": 50,
        "post'": 87.5,
    }
    assert levels["alpha"].isna().all()
    assert drawn["task"].drop_duplicates().tolist() == ["sums", "facts", "poems"]


def test_a_scale_of_the_whole_is_the_same_as_weights():
    as_scale = scores(
        *((put("old", "new", scale=s, sweep="scaled"), 0.25 * s) for s in (0.0, 1.0, 2.0)),
        (put("old", "new", [0.5, 0.25], ["new"], scale=2.0, sweep="scaled"), 0.5),
    )
    drawn = along(together(as_scale, CARRIED[CARRIED["sweep"] == "ends"]))
    curve = drawn[(drawn["what"] == "sum") & (drawn["task"] == "sums")]
    assert curve[["alpha", "score"]].to_numpy().tolist() == [[0, 0], [1, 25], [2, 50]]
    both = together(as_scale, CARRIED[CARRIED["sweep"] == "ends"])
    assert efficiency(both, weights=(1.0, 0.5))["real"].tolist() == [50, 50, 50]


def test_a_sum_that_two_sweeps_share_counts_once():
    again = scores((put("old", "new", scale=1.0, sweep="again"), (0.625, 0.75, 0.375)))
    pd.testing.assert_frame_equal(efficiency(together(CARRIED, again)), efficiency())


def test_a_base_without_a_post_of_its_own_has_no_such_level():
    is_gone = (CARRIED["pair"] == "new") & (CARRIED["variant"] == "post")
    assert set(along(CARRIED[~is_gone])["what"]) == {"sum", "base'", "post"}
    figure = make("accuracy_by_scale", CARRIED[~is_gone])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["base' + αΔ", "base'", "post"]


def test_a_panel_per_task_marks_its_best_alpha_and_one():
    figure = make("accuracy_by_scale")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["sums", "facts", "poems"]
    axes = figure.axes[0]
    (ring,) = [line for line in axes.lines if line.get_markersize() == 8]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (1, 62.5)
    (marks,) = axes.containers
    assert list(marks.lines[0].get_xdata()) == [0.5, 1, 1.5]
    flat = sorted(line.get_ydata()[0] for line in axes.lines if list(line.get_xdata()) == [0, 1])
    assert flat == [25, 50, 87.5]


def test_an_axis_of_percent_is_not_narrower_than_noise():
    table = CARRIED[CARRIED["pair"] != "none"].copy()
    table["value"] = 0.5 + 0.001 * np.arange(len(table)) / len(table)
    for axes in make("accuracy_by_scale", table).axes:
        assert np.ptp(axes.get_ylim()) == pytest.approx(accuracy_by_scale.LEAST)


def test_several_pairs_are_named_above_their_tasks():
    names = {"old": "old2", "new": "new2"}
    figure = make("accuracy_by_scale", together(CARRIED, CARRIED.replace({"pair": names})))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[0] == "αΔ old on new\nsums"
    assert titles[3] == "αΔ old2 on new\nsums"


# --- the loss along the scale ---------------------------------------------------------------------


def along_loss(table=LOST):
    return loss_by_scale.select(table, loss_by_scale.Params())


def test_losses_along_alpha_stand_beside_the_levels():
    drawn = along_loss().set_index("what")
    assert drawn.loc["measured", ["alpha", "value"]].to_numpy().tolist() == [
        [0.5, 3.0],
        [1.0, 1.25],
        [1.5, 1.5],
    ]
    assert drawn.loc["left", "value"].tolist() == [2.0, 1.125, -1.0]
    assert drawn.loc[["base'", "post", "post'"], "value"].tolist() == [4.0, 1.0, 0.5]
    assert drawn.loc[["base'", "post", "post'"], "alpha"].isna().all()
    assert set(drawn["pair"]) == {"old"}
    assert set(drawn["onto"]) == {"new"}


def test_a_loss_is_measured_once_whatever_the_quadratures():
    several = together(LOST, LOST.assign(quadrature="right", slope=2 * LOST["slope"]))
    drawn = along_loss(several)
    assert (drawn["what"] == "measured").sum() == 3
    pd.testing.assert_frame_equal(
        drawn[drawn["what"] != "right"].reset_index(drop=True), along_loss()
    )
    assert drawn.loc[drawn["what"] == "right", "value"].tolist() == [3.0, 1.25, -3.0]


def test_the_least_loss_has_a_ring_and_each_quadrature_its_marks():
    figure = make("loss_by_scale", LOST)
    (axes,) = figure.axes
    (ring,) = [line for line in axes.lines if line.get_markersize() == 8]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (1, 1.25)
    assert axes.get_yscale() == "log"
    assert texts(figure) == ["measured", "left", "base'", "post", "post'"]


def test_every_quadrature_has_a_look_of_its_own():
    rules = list(quadrature.RULES)
    looks = loss_by_scale._looks(rules)
    assert list(looks) == rules
    assert len({look["color"] for look in looks.values()}) == len(rules)
    assert len({look["marker"] for look in looks.values()}) == len(rules)


# --- layout ---------------------------------------------------------------------------------------

LONG = [f"a_task_with_a_long_name_{i}" for i in range(8)]


def many_losses(pairs):
    """Make the losses of several pairs with long names, by two quadratures."""
    found = []
    for i in range(pairs):
        names = {"old": f"an_old_pair_with_a_long_name_{i}", "new": f"a_new_pair_with_a_name_{i}"}
        found += [LOST.replace(names), LOST.replace({**names, "left": "gauss_legendre"})]
    return together(*found)


def many(pairs):
    rng = np.random.default_rng(0)
    found = []
    for i in range(pairs):
        old, new = f"an_old_pair_with_a_long_name_{i}", f"a_new_pair_with_a_long_name_{i}"
        variants = [(put(old, new, [w]), tuple(rng.uniform(0.2, 0.9, 8))) for w in (0.5, 1.0, 1.5)]
        found.append(scores(*variants, tasks=LONG, metric="exact_match"))
        found += [ends(p, 0.25, 0.5, tasks=LONG, metric="exact_match") for p in (old, new)]
    return together(*found)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "table", [CARRIED, as_llama(CARRIED), many(1), many(3)], ids=["few", "llama", "long", "three"]
)
def test_all_text_is_inside_the_figure_and_apart(name, table, monkeypatch):
    figure = make(name, table)
    check_text(figure, monkeypatch, more_than=10)


# --- in a study -----------------------------------------------------------------------------------


@pytest.fixture
def config():
    """The default study with a sweep that puts a delta onto another base, and a figure of it."""
    found = yaml.safe_load((ROOT / "config.yaml").read_text())
    grid = {"weights": [[0.5], [1.0]]}
    found["sweeps"]["carry"] = {"method": "combine", "onto": "demo_dpo", "grid": grid}
    found["runs"].append({"pair": "demo_lm", "sweeps": ["carry"], "suites": ["demo"]})
    spec = {"pair": "demo_lm", "sweeps": ["carry"], "suite": "demo"}
    found["figures"] = {name: {"kind": name, **spec} for name in KINDS}
    found["tables"] = {}
    return found


def check(config, tmp_path):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    configuration.check(config, [tmp_path / "study.yaml"], ROOT)


def test_a_figure_reads_the_ends_of_the_pair_that_takes_the_delta(config, tmp_path):
    check(config, tmp_path)
    for spec in config["figures"].values():
        assert study.drawn(config, spec, figures.load(spec["kind"]).MEASURES) == [
            "results/demo_lm/eval/ends/all/demo.json",
            "results/demo_lm/eval/carry/all/demo.json",
            "results/demo_dpo/eval/ends/all/demo.json",
        ]


def test_a_loss_along_the_scale_is_that_of_the_ends_of_that_pair_too(config, tmp_path):
    config["runs"][-1] |= {"losses": ["demo_math"]}
    spec = {"kind": "loss_by_scale", "pair": "demo_lm", "sweeps": ["carry"], "loss": "demo_math"}
    config["figures"] = {"loss": spec}
    check(config, tmp_path)
    assert study.drawn(config, spec, loss_by_scale.MEASURES) == [
        "results/demo_lm/loss/ends/all/demo_math.parquet",
        "results/demo_lm/loss/carry/all/demo_math.parquet",
        "results/demo_dpo/loss/ends/all/demo_math.parquet",
    ]
    spec["sweeps"] = ["low_rank"]
    with pytest.raises(configuration.ConfigError, match="no sweep of it is put onto another base"):
        check(config, tmp_path)


def test_the_pair_that_takes_the_delta_may_be_named_too(config, tmp_path):
    spec = config["figures"]["transfer_efficiency"]
    spec["pair"] = ["demo_lm", "demo_dpo"]
    check(config, tmp_path)
    found = study.drawn(config, spec, transfer_efficiency.MEASURES)
    assert found[-1] == "results/demo_dpo/eval/ends/all/demo.json"
    assert len(found) == 3


def test_a_figure_without_a_delta_on_another_base_is_refused(config, tmp_path):
    config["figures"]["transfer_efficiency"]["sweeps"] = ["low_rank"]
    with pytest.raises(configuration.ConfigError, match="no sweep of it is put onto another base"):
        check(config, tmp_path)


def test_variants_know_where_they_are_put(config, tmp_path):
    config["sweeps"]["carry"] |= {"deltas": ["demo_lm_early"], "grid": {"weights": [[1.0, 0.5]]}}
    check(config, tmp_path)
    (variant,) = study.variants(config, "demo_lm", "carry", "all")
    assert (variant["onto"], variant["deltas"]) == ("demo_dpo", ["demo_lm_early"])
    described = results.describe(variant)
    assert (described["onto"], described["deltas"]) == ("demo_dpo", '["demo_lm_early"]')
    (base, _) = study.variants(config, "demo_lm", "ends", "all")
    assert (base["onto"], base["deltas"]) == (None, [])
    for other in (base, *study.variants(config, "demo_lm", "others", "all")):
        assert not {"onto", "deltas"} & results.describe(other).keys()


def test_the_benchmarks_are_tasks_of_lm_eval_s_or_ours():
    from deltaedit import tasks

    for name in published.BENCHMARKS:
        tasks.find(name)
    assert LLAMA["old"][1] in published.SIZES
