"""Tables of numbers become texts: rounded, with their errors, as Markdown and as LaTeX."""

import math
import re

import pandas as pd
import pytest

from deltaedit import claims, layouts, results, verdicts

from .figure_tables import BASE, POST, SCORES, SLOPES, dare, expo, losses, scores

# --- scores ---------------------------------------------------------------------------------------


def plain_scores(*rows):
    """Make scores; `rows` are (sweep, variant, suite, task, value, stderr)."""
    columns = ["sweep", "variant", "suite", "task", "value", "stderr"]
    return pd.DataFrame(rows, columns=columns).assign(pair="p", metric="m", filter="none")


def test_scores_show_every_variant_in_one_line():
    table = plain_scores(
        ("s", "b", "x", "t", 0.5, 0.125),
        ("s", "b", "x", "u", 1.0, None),
        ("s", "a<b", "x", "t", 0.25, 0.0),
        ("s", "a<b", "x", "u", 0.0, 0.0),
    )
    shown = layouts.scores(table)
    assert list(shown.columns) == ["pair", "sweep", "variant", "t (m, %)", "u (m, %)"]
    assert shown.to_numpy().tolist() == [
        ["p", "s", "b", "50.0 ± 12.5", "100.0"],
        ["p", "s", "a<b", "25.0 ± 0.0", "0.0 ± 0.0"],
    ]


def test_scores_keep_the_order_of_the_variants():
    names = [
        ("one", "k=0.5"),
        ("one", "k=1.5"),
        ("two", "k=0.5"),
        ("two", "k=0.9"),
        ("two", "k=1.5"),
    ]
    shown = layouts.scores(plain_scores(*((*name, "x", "t", 0.5, 0.125) for name in names)))
    assert list(zip(shown["sweep"], shown["variant"], strict=True)) == names


def test_a_task_of_two_suites_names_its_suite():
    table = plain_scores(("s", "v", "one", "t", 0.5, 0.125), ("s", "v", "two", "u", 0.5, 0.125))
    assert list(layouts.scores(table).columns[3:]) == ["t (m, %)", "u (m, %)"]
    table = pd.concat([table, table.iloc[:1].assign(suite="two")])
    assert list(layouts.scores(table).columns[3:]) == [
        "one/t (m, %)",
        "two/u (m, %)",
        "two/t (m, %)",
    ]


def test_a_score_outside_0_to_1_is_no_percentage():
    table = plain_scores(
        ("s", "a", "x", "acc", 0.5, 0.125),
        ("s", "b", "x", "acc", 1.0, 0.125),
        ("s", "a", "x", "r", 0.5, 0.125),
        ("s", "b", "x", "r", -0.25, 0.125),
    )
    shown = layouts.scores(table)
    assert list(shown["acc (m, %)"]) == ["50.0 ± 12.5", "100.0 ± 12.5"]
    assert list(shown["r (m)"]) == ["0.500 ± 0.125", "-0.250 ± 0.125"]


# --- loss changes, claims, verdicts ---------------------------------------------------------------


def test_loss_changes_warn_where_the_approximation_is_off():
    table = results.loss_changes(losses([(dare(0.5), 6.0, 5.0), (dare(0.75), 5.0, 5.125)]))
    shown = layouts.loss_changes(table)
    assert list(shown["gap"]) == ["1 !", "-0.125"], "0.25 is the error of the measured change"
    assert list(shown["measured_change"]) == ["5 ± 0.2", "5.12 ± 0.2"]
    assert list(shown["approximate_change"]) == ["6 ± 0.1", "5 ± 0.1"]
    assert list(shown["loss"]) == ["demo", "demo"]
    assert "expected_second_order" not in shown
    known = results.loss_changes(losses([(dare(0.5), 6.0, 5.0)]), {("demo", "demo"): 3.0})
    assert list(layouts.loss_changes(known)["expected_second_order"]) == ["1.5"]


def test_loss_changes_of_which_none_is_a_number_are_shown_too():
    table = results.loss_changes(losses([(dare(0.5), math.nan, math.nan)]))
    shown = layouts.loss_changes(table.assign(measured_stderr=math.nan))
    assert shown[["approximate_change", "measured_change", "gap"]].isna().all(axis=None)


def test_claims_stand_in_words_beside_rounded_numbers():
    table = pd.DataFrame(
        {
            "claim": ["c"] * 2,
            "pair": ["p"] * 2,
            "loss": ["l"] * 2,
            "quantity": ["q"] * 2,
            "approximated": [0.123456, None],
            "measured": [None, None],
            "verdict": [claims.AGREES, claims.REPORTED],
        }
    )
    shown = layouts.claims(table).fillna("")
    assert shown.to_numpy().tolist() == [
        ["c", "q", "p, l", "0.123", "", "agrees"],
        ["c", "q", "p, l", "", "", "reported"],
    ]


def by_method(table, changes=None):
    changes = pd.DataFrame() if changes is None else results.loss_changes(changes)
    return verdicts.by_method(verdicts.of_variants(table, changes))


def test_verdicts_show_the_changes_of_the_best_and_the_worst_variant():
    edited = [(dare(0.25), 0.75, 0.04), (dare(0.75), 0.25, 0.04), (expo(0.5), 0.5, None)]
    changes = losses([(dare(0.25), 0.0, 0.0125), (dare(0.75), 0.0, -3.0), (expo(0.5), 0.0, 0.5)])
    table = scores((BASE, 0.0, 0.1), (POST, 0.5, 0.03), *edited, tasks=["sums"])
    shown = layouts.verdicts_by_method(by_method(table, changes))
    assert shown.to_numpy().tolist() == [
        ["demo", "DARE", 2, 1, 0, 1, "+25.0 ± 5.0", "-25.0 ± 5.0", "-3 to 0.013"],
        ["demo", "ExPO", 1, 0, 1, 0, "0.0", "0.0", "0.5"],
    ]


def test_verdicts_on_a_reward_name_its_unit():
    table = scores((BASE, 0.0, 0.1), (POST, -1.0, 0.0), (expo(0.5), 1.5, 0.25), metric="reward")
    [row] = layouts.verdicts_by_method(by_method(table.assign(stderr=0.25))).to_numpy().tolist()
    assert row[6] == row[7] == "+2.500 ± 0.250 reward"
    assert pd.isna(row[8]), "no loss was measured"


def test_variants_show_score_changes_and_verdict():
    table = scores((BASE, 0.0, 0.1), (POST, 0.5, 0.03), (dare(0.75), 0.25, 0.04), tasks=["sums"])
    found = verdicts.of_variants(table, results.loss_changes(losses([(dare(0.75), 0.5, 3.0)])))
    shown = layouts.variants(found).set_index("variant").drop(columns=["pair", "sweep"])
    assert list(shown) == [
        "method",
        "verdict",
        "score",
        "score_change",
        "loss",
        "approximate_loss_change",
        "measured_loss_change",
    ]
    base, post, edited = shown.fillna("").to_numpy().tolist()
    assert base == ["base", "", "0.0 ± 10.0", "-50.0 ± 10.4", "", "", ""]
    assert post[2:4] == ["50.0 ± 3.0", "0.0 ± 4.2"]
    assert edited[:4] == ["DARE", "loses", "25.0 ± 4.0", "-25.0 ± 5.0"]
    assert edited[5].partition(" ")[0] == "0.5"
    assert edited[6].partition(" ")[0] == "3"


def test_a_study_without_verdicts_has_a_table_without_rows():
    shown = layouts.verdicts_by_method(by_method(pd.DataFrame(), SLOPES))
    assert shown.empty
    assert len(shown.columns) == 9


# --- files ----------------------------------------------------------------------------------------

UGLY = pd.DataFrame(
    {
        "the_variant": ["a_b", "50 % & #1", "{x} ~ y^2", "c\\d|e", "−1 – 2", "$3"],
        "score (%)": ["1 ± 2", "", None, "<b>", "|", "\\"],
    }
)


def written(table, tmp_path, name="name", caption="A caption."):
    layouts.write_texts(table, tmp_path / "t.md", tmp_path / "t.tex", name, caption)
    return (tmp_path / "t.md").read_text(), (tmp_path / "t.tex").read_text()


def cells_of_markdown(text):
    lines = text.partition("\n\n")[0].splitlines()
    split = [re.split(r"(?<!\\)\|", line) for line in lines]
    assert all(first == last == "" for first, *_, last in split)
    rows = [[cell.strip().replace(r"\|", "|") for cell in cells[1:-1]] for cells in split]
    assert all(re.fullmatch(r":?-+:?", cell) for cell in rows[1])
    return [rows[0], *rows[2:]]


SYMBOLS = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textbar{}": "|",
    r"$\pm$": "±",
    "$-$": "−",
    "--": "–",
    **{"\\" + symbol: symbol for symbol in "&%$#_{}"},
}
SYMBOL = re.compile("|".join(map(re.escape, SYMBOLS)))


def unescaped(latex):
    """Read LaTeX back as the text that it prints; fail where a symbol of LaTeX's own is left."""
    rest = SYMBOL.sub("", latex)
    assert not set(rest) & set("\\&%$#_{}~^|±"), rest
    return SYMBOL.sub(lambda found: SYMBOLS[found[0]], latex)


def cells_of_latex(text):
    """Return the header of the first page and the rows of a longtable."""
    header = re.search(r"\\toprule\n(.*) \\\\\n\\midrule\n\\endfirsthead", text)[1]
    body = re.search(r"\\endlastfoot\n(.*)\\end{longtable}", text, re.DOTALL)[1]
    rows = [header, *(row for row in body.split(" \\\\\n") if row)]
    return [[unescaped(cell.strip()) for cell in re.split(r"(?<!\\)&", row)] for row in rows]


def test_both_forms_hold_the_cells_whatever_is_in_them(tmp_path):
    markdown, latex = written(UGLY, tmp_path)
    wanted = [["the variant", "score (%)"], *UGLY.fillna("").to_numpy().tolist()]
    assert cells_of_markdown(markdown) == wanted
    assert cells_of_latex(latex) == wanted


def test_latex_is_a_longtable_with_its_caption_and_label(tmp_path):
    _, latex = written(UGLY, tmp_path, "my_table", "Scores in % & more.")
    assert latex.startswith("\\begin{longtable}{ll}\n")
    assert "\\caption{Scores in \\% \\& more.} \\label{tab:my_table} \\\\" in latex
    assert latex.rstrip().endswith("\\end{longtable}")
    for rule in ("\\toprule", "\\midrule", "\\bottomrule"):
        assert rule in latex
    assert latex.count("\\label") == 1


NUMBERS = {
    "scores": SCORES,
    "loss_changes": results.loss_changes(SLOPES),
    "claims": claims.weigh(results.loss_changes(SLOPES), SCORES),
    "verdicts": by_method(SCORES, SLOPES),
    "variants": verdicts.of_variants(SCORES, results.loss_changes(SLOPES)),
}


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_every_table_is_written_whole_and_the_same_each_time(name, tmp_path):
    def write(folder):
        (tmp_path / folder).mkdir()
        files = tmp_path / folder / "a.md", tmp_path / folder / "a.tex"
        layouts.write(name, NUMBERS[name].copy(), *files)
        return [file.read_bytes() for file in files]

    markdown, latex = (found.decode() for found in write("one"))
    assert [markdown.encode(), latex.encode()] == write("two")
    shown = layouts.LAYOUTS[name](NUMBERS[name]).fillna("").astype(str)
    shown.columns = [column.replace("_", " ") for column in shown]
    wanted = [list(shown), *shown.to_numpy().tolist()]
    assert cells_of_markdown(markdown) == wanted
    assert cells_of_latex(latex) == wanted
    assert f"\\label{{tab:{name}}}" in latex
    assert {path.name for path in (tmp_path / "one").iterdir()} == {"a.md", "a.tex"}


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_a_layout_is_pure_the_same_of_a_csv_and_has_a_title_and_a_caption(name, tmp_path):
    table = NUMBERS[name]
    before = table.copy()
    shown = layouts.LAYOUTS[name](table)
    pd.testing.assert_frame_equal(table, before)
    results.write_csv(tmp_path / "a.csv", table)
    again = layouts.LAYOUTS[name](pd.read_csv(tmp_path / "a.csv"))
    pd.testing.assert_frame_equal(again, shown, check_dtype=False)
    assert layouts.TITLES[name]
    assert layouts.CAPTIONS[name].endswith(".")


@pytest.mark.parametrize("name", ["claims", "verdicts"])  # the others need a measurement
def test_a_table_without_rows_is_a_header(name, tmp_path):
    layouts.write(name, NUMBERS[name][:0], tmp_path / "a.md", tmp_path / "a.tex")
    assert len((tmp_path / "a.md").read_text().splitlines()) == 2
    assert "\\begin{longtable}" in (tmp_path / "a.tex").read_text()


# --- notes ----------------------------------------------------------------------------------------


def test_a_table_of_limited_scores_says_so(tmp_path):
    limited = SCORES.assign(limit=16)
    layouts.write("scores", limited, tmp_path / "a.md", tmp_path / "a.tex")
    assert (tmp_path / "a.md").read_text().endswith("|\n\nAt most 16 documents per task.\n")
    assert "the sweep ends. At most 16 documents per task.}" in (tmp_path / "a.tex").read_text()
    layouts.write("scores", SCORES.assign(limit=None), tmp_path / "a.md", tmp_path / "a.tex")
    assert (tmp_path / "a.md").read_text().endswith("|\n")
    assert "At most" not in (tmp_path / "a.tex").read_text()


def test_notes_name_the_tasks_of_a_mean_for_each_pair_that_has_others():
    one = by_method(SCORES, SLOPES)
    assert layouts.notes(one) == "Score: mean of sums (acc), facts (acc)."
    same = pd.concat([one, one.assign(pair="same")])
    assert layouts.notes(same) == layouts.notes(one)
    other = pd.concat([same, one.assign(pair="other", score_of="chat (reward, strict)")])
    assert layouts.notes(other) == (
        "Score of demo, same: mean of sums (acc), facts (acc). Score of other: chat (reward,"
        " strict)."
    )
    assert layouts.notes(pd.DataFrame({"claim": ["x"]})) == ""
