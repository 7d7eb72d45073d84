"""Documents and scores of the demo's tasks, for lm-eval.

`deltaedit.demo.write_tasks` writes the JSON lines beside this file.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from deltaedit.demo import language


def documents(file: str, **metadata: Any) -> dict[str, Dataset]:
    """Read a file of JSON lines as the test split; a field that a line lacks becomes None."""
    lines = (Path(__file__).parent / file).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    fields = dict.fromkeys(key for row in rows for key in row)
    return {"test": Dataset.from_dict({key: [row.get(key) for row in rows] for key in fields})}


def score_instruct(document: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Score 1 if the response obeys every constraint."""
    return {"strict": float(language.follows_instruction(document, results[0]))}


def score_code(document: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Score 1 if the response is a function of the right values."""
    return {"pass_at_1": float(language.is_right_code(document["expression"], results[0]))}


def score_opinion(document: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, float]:
    """Return the expected reward of a response, exact, and the probability that it is an opinion.

    Any other response counts as the worst opinion.
    """
    rewards = document["rewards"]
    shares = [math.exp(logarithm) for logarithm, _ in results]
    expected = sum(share * reward for share, reward in zip(shares, rewards, strict=True))
    mass = sum(shares)
    return {"expected_reward": expected + (1 - mass) * min(rewards), "mass": mass}
