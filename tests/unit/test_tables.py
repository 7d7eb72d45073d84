"""Every kind of table keeps the contract of its folder, and published numbers stand where due."""

import dataclasses
import math

import pandas as pd
import pytest

from deltaedit import published, results, tables
from deltaedit.errors import UserError
from deltaedit.tables import random_or_biased

from .figure_tables import BASE, POST, SCORES, TABLES, dare, edit, expo, scores, together
from .param_delta_tables import MEDICAL

LLAMA = {"base_repo": published.LLAMA3_8B[0], "post_repo": published.LLAMA3_8B[1]}


def biased(by, k, p=0.5, **more):
    return edit("biased", by=by, dropped_scale=k, drop_rate=p, **more)


# --- contract -------------------------------------------------------------------------------------


@pytest.fixture(params=tables.NAMES)
def kind(request):
    return tables.load(request.param)


def published_too(table):
    """Return a table with rows of the papers' own pair and task."""
    theirs = table.replace({"task": {"sums": "gsm8k"}}).assign(pair="llama", **LLAMA)
    return together(table, theirs)


def measured(kind):
    """Return a table that a kind can show, with published numbers where it has them."""
    return MEDICAL if "onto" in kind.MEASURES else published_too(TABLES[kind.MEASURES])


def test_a_kind_keeps_the_contract(kind):
    table = measured(kind)
    before = table.copy()
    params = kind.Params()
    selected = kind.select(table, params)
    pd.testing.assert_frame_equal(table, before)
    kept = selected.copy()
    texts = kind.lay_out(selected)

    pd.testing.assert_frame_equal(selected, kept)
    assert len(selected)
    assert not selected.duplicated().any()
    assert len(texts)
    assert not texts.duplicated().any()
    assert texts.map(lambda cell: isinstance(cell, str)).all(axis=None)
    assert dataclasses.is_dataclass(kind.Params)
    assert kind.Params.__dataclass_params__.frozen
    assert kind.TITLE
    assert kind.CAPTION.endswith(".")
    assert "\n" not in kind.CAPTION


def test_a_kind_lays_out_the_same_from_its_csv(kind, tmp_path):
    selected = kind.select(measured(kind), kind.Params())
    results.write_csv(tmp_path / "a.csv", selected)
    again = kind.lay_out(pd.read_csv(tmp_path / "a.csv"))
    pd.testing.assert_frame_equal(again, kind.lay_out(selected), check_dtype=False)


def test_nothing_to_lay_out_is_said_in_one_line(kind):
    table = measured(kind)
    table = table[table["method"].isna()]
    with pytest.raises(UserError, match=r"^nothing to draw: [^\n]+$"):
        kind.select(table, kind.Params())


def test_unknown_kinds_and_options_are_refused():
    with pytest.raises(ValueError, match=r"unknown table kind 'random'"):
        tables.parse("random", {})
    with pytest.raises(ValueError, match="unknown option 'colour'"):
        tables.parse("random_or_biased", {"colour": "red"})


# --- random or biased -----------------------------------------------------------------------------


def select(table):
    return random_or_biased.select(table, random_or_biased.Params())


def test_accuracies_of_each_choice_stand_side_by_side():
    table = scores(
        (BASE, 0.0, 0.1),
        (POST, 0.5, 0.1),
        (biased("delta", 1.5), (0.5, 0.25), 0.0625),
        (biased("product", 1.5), (0.0, 0.125), 0.03125),
        (biased("product", 0.5), (0.25, 0.375), 0.125),
        (dare(0.5, 1.5), (0.75, 0.625), 0.0625),
    )
    texts = random_or_biased.lay_out(select(table))
    columns = ["random", "biased by delta", "biased by delta x gradient"]
    assert list(texts) == ["pair", "task", "p", "k", *columns]
    assert texts.to_numpy().tolist() == [
        ["demo", "sums (acc)", "0.5", "0.5", "", "", "25.0 ± 12.5"],
        ["demo", "sums (acc)", "0.5", "1.5", "75.0 ± 6.2", "50.0 ± 6.2", "0.0 ± 3.1"],
        ["demo", "facts (acc)", "0.5", "0.5", "", "", "37.5 ± 12.5"],
        ["demo", "facts (acc)", "0.5", "1.5", "62.5 ± 6.2", "25.0 ± 6.2", "12.5 ± 3.1"],
    ]


def test_only_rescaled_dare_of_the_same_pair_p_and_k_is_the_random_choice():
    matched = dare(0.25, 0.5)
    others = [
        dare(0.25, 0.75),
        dare(0.75, 0.5),
        dare(0.25, 0.5, rescale=False),
        dare(0.25, 0.5, sweep="other") | {"pair": "other"},
        expo(0.5),
        BASE,
        POST,
    ]
    rows = [(which, 0.125, 0.01) for which in others]
    table = scores((biased("delta", 0.5, 0.25), 0.5, 0.01), *rows, (matched, 0.75, 0.01))
    drawn = select(table)
    assert drawn[["task", "choice", "accuracy"]].to_numpy().tolist() == [
        ["sums", "random", 0.75],
        ["facts", "random", 0.75],
        ["sums", "delta", 0.5],
        ["facts", "delta", 0.5],
    ]
    assert set(drawn["source"]) == {"ours"}


def test_each_choice_is_a_mean_over_seeds():
    table = scores(
        (biased("delta", 0.5), 0.5, 0.125),
        (dare(0.5, 0.5, seed=0), 0.25, 0.01),
        (dare(0.5, 0.5, seed=1), 0.75, 0.01),
        (dare(0.5, 0.5, seed=1, sweep="again"), 0.75, 0.01),
        tasks=["sums"],
    )
    random, delta = select(table).itertuples()
    assert (random.accuracy, random.seeds) == (0.5, 2)
    assert random.stderr == pytest.approx(0.25)
    assert (delta.accuracy, delta.stderr, delta.seeds) == (0.5, 0.125, 1)


def test_without_dare_the_random_column_is_not_there():
    texts = random_or_biased.lay_out(select(scores((biased("delta", 0.5), 0.5, 0.1))))
    assert list(texts) == ["pair", "task", "p", "k", "biased by delta"]


def test_biased_variants_that_differ_in_more_are_not_averaged():
    both = scores((biased("delta", 0.5), 0.5, 0.1), (biased("delta", 0.5, zero="negative"), 0, 0.1))
    with pytest.raises(UserError, match="several values of zero"):
        select(both)
    other = scores(
        (biased("delta", 0.5), 0.5, 0.1), (dare(0.5, 0.5, tensors="linear"), 0.25, 0.1)
    )  # fmt: skip
    with pytest.raises(UserError, match="edit different tensors"):
        select(other)


# --- published numbers ----------------------------------------------------------------------------


GSM8K = "gsm8k (exact_match, strict-match)"


def of_llama(**changed):
    """Make scores of a biased variant on two tasks, of Llama-3 but for what is `changed`."""
    table = scores(
        (BASE, 0.0, 0.1), (POST, 0.75, 0.1), (biased("delta", 0.5), 0.5, 0.125),
        tasks=["gsm8k", "sums"], metric="exact_match", how="strict-match",
    )  # fmt: skip
    return table.assign(pair="llama", **LLAMA).assign(**changed)


def test_published_numbers_are_those_of_the_file_beside_ours():
    drawn = select(of_llama())
    theirs = drawn[drawn["source"] == "published"]
    assert set(theirs["pair"]) == {"llama"}
    assert set(theirs["task"]) == {"gsm8k"}
    assert theirs[["drop_rate", "stderr", "seeds"]].isna().all(axis=None), "the paper states none"
    wide = theirs.pivot(index="dropped_scale", columns="choice", values="accuracy") * 100
    file = pd.read_csv(published.FOLDER / "unified_table1.csv", comment="#").set_index("k")
    assert len(file) == 6
    for choice, column in (("random", "random"), ("delta", "biased_delta")):
        assert wide[choice].to_dict() == pytest.approx(file[column].to_dict())
    assert wide["product"].to_dict() == pytest.approx(file["biased_product"].to_dict())
    assert len(drawn) == 2 + 3 * len(file)


def test_published_numbers_are_labelled_so_in_rows_of_their_own():
    texts = random_or_biased.lay_out(select(of_llama()))
    columns = ["random", "biased by delta", "biased by delta x gradient"]
    assert list(texts)[4:] == ["biased by delta", *(f"{name} (published)" for name in columns)]
    ours, *theirs = texts[texts["task"] == GSM8K].to_numpy().tolist()
    assert ours == ["llama", GSM8K, "0.5", "0.5", "50.0 ± 12.5", "", "", ""]
    assert [row[2:4] for row in theirs] == [
        ["", k] for k in ("0.5", "0.7", "0.9", "1.1", "1.3", "1.5")
    ]
    assert theirs[2][4:] == ["", "76.2", "76.0", "26.8"]
    other = texts[texts["task"] == GSM8K.replace("gsm8k", "sums")]
    assert len(other) == 1
    assert set(other.iloc[0, 5:]) == {""}


@pytest.mark.parametrize(
    "changed",
    [
        {"base_repo": "meta-llama/Meta-Llama-3-70B"},
        {"post_repo": "meta-llama/Meta-Llama-3.1-8B-Instruct"},
        {"base_repo": LLAMA["post_repo"], "post_repo": LLAMA["base_repo"]},
        {"base_repo": None, "post_repo": None},
        {"task": "gsm8k_cot"},
    ],
)
def test_of_another_pair_or_task_nothing_is_published(changed):
    assert set(select(of_llama(**changed))["source"]) == {"ours"}
    texts = random_or_biased.lay_out(select(of_llama(**changed)))
    assert not any("published" in column for column in texts)


def test_a_table_without_repositories_is_of_no_published_pair():
    assert not published.is_of(SCORES, published.LLAMA3_8B).any()
    assert published.is_of(of_llama(), published.LLAMA3_8B).all()


def test_published_files_name_their_source():
    files = sorted(published.FOLDER.glob("*.csv"))
    assert files
    for file in files:
        assert file.read_text().startswith("# ")
        numbers = published.read(file.stem)
        assert len(numbers)
        cells = numbers.select_dtypes("number").to_numpy().flatten()
        assert not any(math.isinf(value) for value in cells)
        assert sum(map(math.isfinite, cells)) > 0.9 * len(cells), "a paper leaves few cells empty"
