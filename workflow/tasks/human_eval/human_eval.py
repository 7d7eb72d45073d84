"""Documents and scores of HumanEval, for lm-eval, by lm-eval's own functions for it."""

import json
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from deltaedit import code_eval

code_eval.install()  # before lm-eval's functions load the metric

from lm_eval.tasks.humaneval.utils import (
    build_predictions,
    build_predictions_instruct,
    pass_at_k,
)

__all__ = ["build_predictions", "build_predictions_instruct", "documents", "score"]

FILE = Path(__file__).parent / "human_eval.jsonl"


def documents(**metadata: Any) -> dict[str, Dataset]:
    """Read the problems as the test split."""
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    return {"test": Dataset.from_list(rows)}


def score(document: dict[str, Any], results: list[list[str]]) -> dict[str, float]:
    """Return the share of a problem's programs that pass its tests."""
    tests = f"{document['test']}\ncheck({document['entry_point']})"
    return pass_at_k([tests], results, k=[1])
