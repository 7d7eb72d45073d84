"""Tables of deltas on other bases hold the scores of their checkpoints, and the papers' beside."""

import math

import pandas as pd
import pytest

from deltaedit import results, tables
from deltaedit.errors import UserError
from deltaedit.tables import param_delta_continued, param_delta_general, param_delta_specific

from .param_delta_tables import CARRIED, MEDICAL, as_llama, ends, put, scores, together

DATA = {
    "param_delta_general": CARRIED,
    "param_delta_specific": MEDICAL,
    "param_delta_continued": CARRIED,
}


def select(kind, table):
    module = tables.load(kind) if isinstance(kind, str) else kind
    return module.select(table, module.Params())


def renamed(table, **names):
    return table.replace({"task": names})


# --- contract -------------------------------------------------------------------------------------


@pytest.fixture(params=DATA)
def name(request):
    return request.param


def test_a_kind_keeps_the_contract(name, tmp_path):
    kind, table = tables.load(name), as_llama(renamed(DATA[name], sums="gsm8k"))
    kept = table.copy()
    selected = select(name, table)
    pd.testing.assert_frame_equal(table, kept)
    kept = selected.copy()
    texts = kind.lay_out(selected)
    pd.testing.assert_frame_equal(selected, kept)
    assert len(selected)
    assert not selected.duplicated().any()
    assert not texts.duplicated().any()
    assert texts.map(lambda cell: isinstance(cell, str)).all(axis=None)
    results.write_csv(tmp_path / "a.csv", selected)
    pd.testing.assert_frame_equal(kind.lay_out(pd.read_csv(tmp_path / "a.csv")), texts)
    assert kind.CAPTION.endswith(".")
    assert "\n" not in kind.CAPTION
    assert kind.TITLE


def test_nothing_to_draw_is_said_in_one_line(name):
    table = DATA[name]
    for rows in (table[table["sweep"] == "ends"], table[table["onto"].isna()]):
        with pytest.raises(UserError, match=r"^nothing to draw: [^\n]+$"):
            select(name, rows)


# --- ours -----------------------------------------------------------------------------------------


def test_the_general_table_has_a_column_per_checkpoint():
    texts = param_delta_general.lay_out(select("param_delta_general", CARRIED))
    assert list(texts) == [
        "delta of", "onto", "task", "base", "post", "base'", "base' + D", "post'",
    ]  # fmt: skip
    assert texts.iloc[0].tolist() == [
        "old", "new", "sums (acc, %)", "12.5 ± 1.0", "50.0 ± 1.0", "25.0 ± 1.0", "62.5 ± 1.0",
        "87.5 ± 1.0",
    ]  # fmt: skip
    assert len(texts) == 3


def test_the_specific_table_says_what_is_added_general_first():
    texts = param_delta_specific.lay_out(select("param_delta_specific", MEDICAL))
    assert list(texts)[3:] == [
        "post", "specific", "base' + D specific", "base' + 0.5 D general + 0.25 D specific",
    ]  # fmt: skip
    first = ["med", "new", "sums (acc, %)", "75.0 ± 1.0", "25.0 ± 1.0", "50.0 ± 1.0", "87.5 ± 1.0"]
    assert texts.iloc[0].tolist() == first


def test_the_sum_may_be_a_variant_of_the_general_pair_too():
    other = scores((put("new", "new", [0.5, 0.25], ["med"]), 0.875))
    is_sum = MEDICAL["deltas"] == '["new"]'
    again = param_delta_specific.lay_out(
        select("param_delta_specific", together(MEDICAL[~is_sum], other))
    )
    texts = param_delta_specific.lay_out(select("param_delta_specific", MEDICAL))
    pd.testing.assert_frame_equal(again, texts)


def test_a_specific_pair_that_stands_first_is_told_where_to_stand():
    with pytest.raises(UserError, match=r"general pair first, as pair: \[GENERAL, SPECIFIC\]"):
        select("param_delta_specific", MEDICAL[MEDICAL["pair"] != "general"])


def test_the_continued_table_compares_post_with_the_sum():
    texts = param_delta_continued.lay_out(select("param_delta_continued", CARRIED))
    assert list(texts)[3:] == ["post", "continued + D"]
    assert texts.iloc[2, 3:].tolist() == ["25.0 ± 1.0", "37.5 ± 1.0"]


def test_a_score_that_is_no_share_keeps_its_unit():
    reward = {"tasks": ["reward"], "metric": "expected_reward"}
    table = together(
        CARRIED, scores((put("old", "new"), -1.5), **reward),
        ends("old", 1.0, 2.5, **reward), ends("new", 0.0, 0.5, **reward),
    )  # fmt: skip
    texts = param_delta_general.lay_out(select("param_delta_general", table))
    row = texts.iloc[-1].tolist()
    assert row[2:4] == ["reward (expected_reward)", "1.000 ± 0.010"]
    assert "-1.500 ± 0.010" in row


# --- published ------------------------------------------------------------------------------------


def theirs(selected):
    rows = selected[selected["source"] == "published"]
    assert rows["stderr"].isna().all()
    assert set(rows["unit"]) <= {"%"}
    return {(row["task"], row["checkpoint"]): row["score"] for row in rows.to_dict("records")}


def test_published_numbers_of_table_1_stand_beside_ours_where_task_and_pairs_are_theirs():
    table = as_llama(renamed(CARRIED, sums="gsm8k", facts="humaneval_instruct"))
    selected = select("param_delta_general", table)
    found = theirs(selected)
    assert len(found) == 10
    assert [found["gsm8k", name] for name in ("base", "post", "base'", "base' + D", "post'")] == [
        50.3, 81.4, 50.0, 78.5, 84.2,
    ]  # fmt: skip
    assert found["humaneval_instruct", "base' + D"] == 64.6
    texts = param_delta_general.lay_out(selected)
    assert list(texts)[3:7] == ["base", "base (published)", "post", "post (published)"]
    assert texts.loc[0, "post' (published)"] == "84.2"
    assert texts.loc[2, "post' (published)"] == ""


def test_the_other_size_has_its_own_numbers():
    names = {"old": ("3", "70B"), "new": ("3.1", "70B")}
    found = theirs(select("param_delta_general", as_llama(renamed(CARRIED, sums="ifeval"), names)))
    assert found["ifeval", "base' + D"] == 83.9


@pytest.mark.parametrize("names", [{}, {"old": ("3", "8B")}, {"new": ("3.1", "8B")}])
def test_of_other_pairs_nothing_is_published(names):
    table = as_llama(renamed(CARRIED, sums="gsm8k"), names)
    assert not theirs(select("param_delta_general", table))


def medical_llama():
    table = renamed(MEDICAL, sums="mmlu", facts="gsm8k")
    table = as_llama(table, {"general": ("3", "8B"), "new": ("3.1", "8B")})
    is_med = table["pair"] == "med"
    table.loc[is_med, "base_repo"] = "meta-llama/Meta-Llama-3-8B"
    table.loc[is_med, "post_repo"] = param_delta_specific.PUBLISHED_SPECIFIC
    return table


def test_published_numbers_of_table_2_leave_out_what_may_be_a_slip():
    found = theirs(select("param_delta_specific", medical_llama()))
    star = "base' + 0.5 D general + 0.5 D specific"
    columns = ("post", "specific", "base' + D specific", star)
    assert [found["mmlu", name] for name in columns] == [68.5, 66.9, 67.7, 70.2]
    assert {name for task, name in found if task == "gsm8k"} == {"post"}
    assert not any(math.isnan(value) for value in found.values())
    other = medical_llama().replace({"post_repo": {param_delta_specific.PUBLISHED_SPECIFIC: "x/y"}})
    assert not theirs(select("param_delta_specific", other))


@pytest.mark.parametrize(("size", "numbers"), [("8B", [69.4, 69.3]), ("70B", [83.4, 82.6])])
def test_published_numbers_of_table_3_are_of_the_pair_alone(size, numbers):
    table = as_llama(renamed(CARRIED, sums="mmlu", facts="dr_fantasy"), {"old": ("3.1", size)})
    found = theirs(select("param_delta_continued", table))
    assert [found["mmlu", name] for name in ("post", "continued + D")] == numbers
    assert [found["dr_fantasy", name] for name in ("post", "continued + D")] == [0, 76.7]
