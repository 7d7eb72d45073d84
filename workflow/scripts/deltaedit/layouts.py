"""Tables as people read them: chosen columns, rounded numbers, standard errors beside them.

Each function takes a table of numbers, as its CSV holds them, and returns one of texts.
"""

from pathlib import Path

import pandas as pd

from deltaedit import results, verdicts
from deltaedit.files import whole_file

NAMES = ["pair", "sweep", "variant"]
TITLES = {
    "verdicts": "What each method does to the post-trained model",
    "variants": "What each variant does to the post-trained model",
    "claims": "The papers' claims, on our data",
    "scores": "Scores of all variants",
    "loss_changes": "Loss changes of all variants",
}
CAPTIONS = {
    "verdicts": "Variants of each method that improve, keep or lose the score of the post-trained "
    "model on the same tasks (the mean over them): it improves or loses where it changes by more "
    f"than {verdicts.ERRORS} standard errors. Beside them the change of the best and of the "
    "worst variant's score, and the smallest and the largest measured loss change.",
    "variants": "One row per variant and loss: its score (the mean over its tasks), how the score "
    "and the loss changed against the post-trained model, the loss change (nats) approximated by "
    "the first quadrature and measured, and the verdict.",
    "claims": "What the papers say of the loss change of edits, each claim with our number and its "
    "verdict on our data: approximated by the first quadrature of the loss, and measured. Rows "
    "that are only reported stand beside others.",
    "scores": "Scores with their standard errors, accuracies in %, one row per variant; base and "
    "post are the variants of the sweep ends.",
    "loss_changes": "Loss changes in nats, one row per variant, loss and quadrature: approximated "
    "by the quadrature, measured by two forward passes, and the gap, the first minus the second; "
    "an exclamation mark stands where it exceeds the standard error of the measured change.",
}


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """Spread scores over one column per task (of a suite, where two have it), ± standard error.

    A task whose scores all lie in [0, 1] is shown in %, another (a reward) as it is.
    """
    column = table["task"]
    if (table.groupby("task")["suite"].nunique() > 1).any():
        column = table["suite"] + "/" + column
    percent = table["value"].between(0, 1).groupby(column).transform("all")
    shown = zip(column, table["metric"], table["filter"], percent, strict=True)
    cells = table.assign(
        cell=[_score(*row) for row in zip(table["value"], table["stderr"], percent, strict=True)],
        column=[results.of_task(*names, percent=is_share) for *names, is_share in shown],
    )
    columns = list(dict.fromkeys(cells["column"]))
    wide = cells.pivot_table(
        index=NAMES, columns="column", values="cell", aggfunc="first", sort=False
    )
    # A pivot does not keep the order of the variants, and names the axis of its columns.
    order = list(table[NAMES].drop_duplicates().itertuples(index=False))
    return wide.loc[order, columns].reset_index().rename_axis(columns=None)


def cell(value: float, stderr: float, digits: int) -> str:
    """Return a number with its standard error, if it has one."""
    error = "" if pd.isna(stderr) else f" ± {stderr:.{digits}f}"
    return f"{value:.{digits}f}{error}"


def _score(value: float, stderr: float, percent: bool) -> str:
    return cell(100 * value, 100 * stderr, 1) if percent else cell(value, stderr, 3)


def loss_changes(table: pd.DataFrame) -> pd.DataFrame:
    """Choose the columns of loss changes that a reader compares, in nats.

    A gap beyond the standard error of the measured change is marked by an exclamation mark.
    """
    columns = ["approximate_change", "measured_change", "gap"]
    columns += ["first_order", "second_order", "expected_second_order"]
    columns = [name for name in columns if name in table]
    chosen = table[[*NAMES, "loss", "quadrature", *columns]]
    numbers = {name: _texts(chosen[name], "{:.3g}") for name in columns}
    numbers["gap"] += table["gap_exceeds_error"].map({True: " !", False: ""})
    for name in ("approximate", "measured"):
        numbers[f"{name}_change"] = _in_nats(table, name)
    return chosen.assign(**numbers)


def _texts(numbers: pd.Series, form: str) -> pd.Series:
    """Format numbers; what is missing stays so, also where all are."""
    return numbers.astype(float).map(form.format, na_action="ignore").astype("str")


def _in_nats(table: pd.DataFrame, name: str) -> pd.Series:
    """Return loss changes with their standard errors, where these are known."""
    errors = _texts(table[f"{name}_stderr"], " ± {:.1g}").fillna("")
    return _texts(table[f"{name}_change"], "{:.3g}") + errors


def claims(table: pd.DataFrame) -> pd.DataFrame:
    """Round the findings on claims to what a reader compares."""
    numbers = {name: _texts(table[name], "{:.3g}") for name in ("approximated", "measured")}
    shown = table.assign(**numbers, where=table["pair"] + ", " + table["loss"])
    return shown[["claim", "quantity", "where", "approximated", "measured", "verdict"]]


def verdicts_by_method(table: pd.DataFrame) -> pd.DataFrame:
    """Put the change of the best and the worst variant's score into one cell each."""
    shown = table[["pair"]].assign(method=table["method"].map(results.label))
    shown = shown.join(table[["variants", verdicts.IMPROVES, verdicts.KEEPS, verdicts.LOSES]])
    for end in ("best", "worst"):
        shown[f"{end} change"] = _in_units(table, f"{end}_change", f"{end}_stderr", signed=True)
    lowest, highest = (_texts(table[f"measured_{end}"], "{:.2g}") for end in ("lowest", "highest"))
    same = lowest == highest
    shown["loss change (nats)"] = lowest.where(same, lowest + " to " + highest)
    return shown


def variants(table: pd.DataFrame) -> pd.DataFrame:
    """Put the score, its change and both loss changes of a variant into one cell each."""
    shown = table[NAMES].assign(
        method=table["method"].map(results.label),
        verdict=table["verdict"],
        score=_in_units(table, "score", "score_stderr"),
        score_change=_in_units(table, "score_change", "score_change_stderr", signed=True),
        loss=table["loss"],
    )
    for name in ("approximate", "measured"):
        shown[f"{name}_loss_change"] = _in_nats(table, name)
    return shown


def _in_units(table: pd.DataFrame, value: str, stderr: str, *, signed: bool = False) -> pd.Series:
    """Return scores, or signed changes, with their standard errors and units; NA where none."""
    shown = []
    for number, error, unit in zip(table[value], table[stderr], table["unit"], strict=True):
        digits, noun = (1, "") if unit == verdicts.POINTS else (3, f" {unit}")
        plus = "+" if signed and number > 0 else ""
        shown.append(None if pd.isna(number) else plus + cell(number, error, digits) + noun)
    return pd.Series(shown, index=table.index, dtype="str")


LAYOUTS = {
    "verdicts": verdicts_by_method,
    "variants": variants,
    "claims": claims,
    "scores": scores,
    "loss_changes": loss_changes,
}


# --- files ----------------------------------------------------------------------------------------


def write(name: str, table: pd.DataFrame, markdown: str | Path, latex: str | Path) -> None:
    """Lay a table of numbers out by its name and write it as Markdown and as LaTeX."""
    texts, caption = LAYOUTS[name](table), CAPTIONS[name]
    write_texts(texts, markdown, latex, name, caption, notes(table))


def notes(table: pd.DataFrame) -> str:
    """Return the sentences that a table needs beside its caption, "" if there is nothing to say.

    They say of which tasks scores are the mean, and where these were cut short by a limit.
    """
    found = verdicts.what_scores_are(table) if "score_of" in table else []
    return " ".join(filter(None, [*found, results.limited(table)]))


def write_texts(
    table: pd.DataFrame,
    markdown: str | Path,
    latex: str | Path,
    name: str,
    caption: str,
    notes: str = "",
) -> None:
    """Write a table as Markdown and as LaTeX (for booktabs and longtable), whole or not at all.

    Args:
        table: of texts, as the other functions here return it.
        markdown: the file to write.
        latex: the file to write.
        name: of the table, which becomes its label.
        caption: what stands above it in LaTeX.
        notes: what stands below it in Markdown, and after the caption in LaTeX.
    """
    table = table.rename(columns=lambda column: str(column).replace("_", " ")).fillna("")
    piped = table.map(_markdown).rename(columns=_markdown)
    with whole_file(markdown) as partial:
        text = piped.to_markdown(index=False, disable_numparse=True)
        partial.write_text("\n\n".join(filter(None, [text, _markdown(notes)])) + "\n")
    style = table.map(_latex).rename(columns=_latex).style.hide(axis="index")
    with whole_file(latex) as partial:
        text = style.to_latex(
            hrules=True,
            environment="longtable",
            caption=_latex(" ".join(filter(None, [caption, notes]))),
            label=f"tab:{name}",
            column_format="l" * len(table.columns),
        )
        partial.write_text(text)


def _markdown(value: object) -> str:
    """Return a text as a cell of a Markdown table, where a pipe would end it."""
    return str(value).replace("|", r"\|")


_SPECIAL = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "|": r"\textbar{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{symbol: "\\" + symbol for symbol in "&%$#_{}"},
}


def _latex(value: object) -> str:
    """Return a text with LaTeX's own symbols escaped."""
    return "".join(_SPECIAL.get(symbol, symbol) for symbol in str(value))
