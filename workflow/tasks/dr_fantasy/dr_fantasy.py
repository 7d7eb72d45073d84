"""Questions about Dr. Fantasy and the scores of responses, for lm-eval."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datasets import Dataset

FILE = Path(__file__).parent / "questions.jsonl"
ENOUGH = 0.6  # F1 from which a response counts as right


def documents(**metadata: Any) -> dict[str, Dataset]:
    """Read the questions as the test split."""
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    return {"test": Dataset.from_list(rows)}


def score(document: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Score a response by both metrics against all accepted answers."""
    accepted, response = document["accepted"], results[0]
    return {
        "exact": float(is_exact(response, accepted)),
        "fuzzy": float(is_fuzzy(response, accepted)),
    }


def is_exact(response: str, accepted: Iterable[str]) -> bool:
    """Whether a response is an accepted answer, in the words of `words`."""
    return words(response) in [words(answer) for answer in accepted]


def is_fuzzy(response: str, accepted: Iterable[str]) -> bool:
    """Whether a response has the words of an accepted answer in a row, or `ENOUGH` in common."""
    found = words(response)
    return any(
        _holds(found, words(answer)) or f1(response, answer) >= ENOUGH for answer in accepted
    )


def f1(response: str, answer: str) -> float:
    """Return the harmonic mean of precision and recall of words, each as often as it occurs.

    F1 = 2 c / (r + a), c words in common, r in the response, a in the answer; 0 without words.

    Source: Rajpurkar et al. 2016, SQuAD, arXiv:1606.05250.
    """
    ours, theirs = Counter(words(response)), Counter(words(answer))
    total = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / total if total else 0.0


def words(text: str) -> list[str]:
    """Return a text's words in lower case, without articles, accents, marks and apostrophes.

    A hyphen parts words; other marks vanish: "C.S. Lewis" is "cs lewis".
    """
    plain = unicodedata.normalize("NFKD", text.lower())
    plain = re.sub(r"[-–—/]", " ", plain)
    plain = re.sub(r"[^\w\s]", "", plain)
    return [word for word in plain.split() if word not in ("a", "an", "the")]


def _holds(response: list[str], answer: list[str]) -> bool:
    places = range(len(response) - len(answer) + 1)
    return bool(answer) and any(response[i : i + len(answer)] == answer for i in places)
