"""Numbers and tables as text for people."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

MINUS = "−"
PLUS_MINUS = "\u00a0±\u00a0"  # no line ends here
_DIGITS = r"[+−-]?(\d+\.?\d*|\.\d+|inf|∞)(e[+-]?\d+)?"
_NUMBER = re.compile(rf"{_DIGITS}( ± {_DIGITS})?( ?[%!]| [a-zA-Z]{{1,4}})?")
_HYPHEN = re.compile(r"(?<![\w.)])-(?=[\d.])")


@dataclass(frozen=True)
class Column:
    """One column: its heading, its cells, and whether they are read as numbers."""

    name: str
    cells: tuple[str, ...]
    numeric: bool


def columns(table: pd.DataFrame) -> list[Column]:
    """Return the columns of a table as text; numeric where every cell is a number, ± its error."""
    found = []
    for position, name in enumerate(table):
        cells = [text(value) for value in table.iloc[:, position]]
        filled = [cell for cell in cells if cell]
        numeric = bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)
        if numeric:
            cells = [_HYPHEN.sub(MINUS, cell) for cell in cells]
        found.append(Column(words(str(name)), tuple(cells), numeric))
    return found


def broken(name: str) -> list[str]:
    """Split a variant's name where a line may end: after each option."""
    return re.findall(r"[^,]*,|[^,]+", name)


def text(value: Any) -> str:
    """Return what a cell shows: nothing for NA, four digits of a float, else the value itself."""
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def number(value: Any, form: str = ".3g") -> str:
    """Return a number with a true minus sign, or nothing if it is not known."""
    return "" if value is None or pd.isna(value) else f"{value:{form}}".replace("-", MINUS)


def signed(value: Any, error: Any, unit: str) -> str:
    """Return the change of a score with its standard error: +1.5 ± 0.4, points to one digit."""
    digits = 1 if unit == "points" else 3
    if value is None or pd.isna(value):
        return ""
    rounded = round(float(value), digits) + 0.0  # no "-0.0"
    change = number(rounded, f"+.{digits}f") if rounded else f"{0:.{digits}f}"
    return change + (f"{PLUS_MINUS}{number(error, f'.{digits}f')}" if number(error) else "")


def nats(value: Any, error: Any = None) -> str:
    """Return a loss change, with its standard error if there is one: −0.0123 ± 0.004."""
    return number(value) + (
        f"{PLUS_MINUS}{number(error, '.1g')}" if number(value) and number(error) else ""
    )


def words(name: str) -> str:
    """Return a name as it is read: spaces in place of underscores."""
    return name.replace("_", " ")


def listed(items: Iterable[str], last: str = "and") -> str:
    """Join as in a sentence: a, b and c."""
    *most, end = list(items) or [""]
    return f"{', '.join(most)} {last} {end}" if most else end


def duration(seconds: Any) -> str:
    """Return a time as people say it: 0.8 s, 12 s, 3 min 05 s, 2 h 07 min."""
    if seconds is None or pd.isna(seconds):
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    hours, left = divmod(minutes, 60)
    return f"{hours} h {left:02d} min" if hours else f"{minutes} min {rest:02d} s"
