"""Documents and scores of API-Bank's calls, for lm-eval.

Source: Li et al. 2023, API-Bank, arXiv:2304.08244; data of its authors, see README.md.
Differs: the authors carry out the call on a small database and compare input and output as each
API sees fit (the words of a reminder may differ by half, for instance). Here name and parameters
must be those expected, which needs no database and accepts less: in level 2, 45 of 135 calls are
searches for an API, which the authors compare by what is found and we by their keywords.
"""

import ast
import json
import re
from pathlib import Path
from typing import Any

from datasets import Dataset

CALL = re.compile(r"\[(\w+)\((.*)\)\]")
PARAMETER = re.compile(r"(?:^|,)\s*(\w+)\s*=\s*")
# What Python raises for what it cannot read as values, or only too deep a nesting.
NO_VALUE = (MemoryError, RecursionError, SyntaxError, TypeError, ValueError)


def documents(file: str, data: str, **metadata: Any) -> dict[str, Dataset]:
    """Read a file of the folder `data` as the test split.

    Raises:
        ValueError: an expected output is no call.
    """
    rows = json.loads((Path(data) / file).read_text(encoding="utf-8"))
    for row in rows:
        if parse(row["expected_output"]) is None:
            raise ValueError(f"{Path(data) / file}: no call in {row['expected_output']!r}")
    return {"test": Dataset.from_list(rows)}


def score(document: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Score 1 if the first call of a response is the expected one."""
    return {"acc": float(parse(results[0]) == parse(document["expected_output"]))}


def parse(text: str) -> tuple[str, dict[str, str]] | None:
    """Return name and parameters of the first `[Name(key='value', ...)]`, None without one.

    Values are compared as text, lists by what they hold: `[1]`, `'[1]'` and `"[1]"` are the same,
    and so is `'['a']'`, which the data have and which is no Python.
    """
    found = CALL.search(text)
    if found is None:
        return None
    name, inside = found.groups()
    try:
        match ast.parse(f"f({inside})", mode="eval").body:
            case ast.Call(func=ast.Name(), args=[], keywords=keywords):
                values = {part.arg: ast.literal_eval(part.value) for part in keywords}
            case _:
                return None
    except NO_VALUE:
        before, *parts = PARAMETER.split(inside)
        if before.strip():
            return None
        values = {key: _unquoted(value) for key, value in zip(parts[::2], parts[1::2], strict=True)}
    return name, {key: _text(value) for key, value in values.items()}


def _unquoted(value: str) -> str:
    value = value.strip()
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if is_quoted else value


def _text(value: object) -> str:
    text = str(value)
    try:
        held = ast.literal_eval(text)
    except NO_VALUE:
        return text
    return repr(held) if isinstance(held, list | dict) else text
