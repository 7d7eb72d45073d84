"""Write train.jsonl and test.jsonl beside this file, as README.md says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from reasoning_gym import create_dataset

SEED = 0
SIZES = {"test": 160, "train": 640}  # the test first: training leaves its problems out
DRAWN = 3000
LONGEST = 240  # characters of an answer, so that a small model is trained and asked in minutes
RULE = " Give the result as your final answer. Do not include units."
# Fractions that a template writes out as floats, and answers that are no plain number.
LONG_DECIMAL = re.compile(r"\d\.\d{3}")
ANSWER = re.compile(r"\n#### -?\d+(\.\d+)?$")


def problems() -> Iterator[dict[str, str]]:
    """Yield different problems: a prompt, and its answer in steps as GSM8K has it."""
    seen = set()
    for entry in create_dataset("gsm_symbolic", seed=SEED, size=DRAWN):
        question = entry["question"].removesuffix(RULE)
        answer = entry["metadata"]["answer_cot"]
        plain = ANSWER.search(answer) and not LONG_DECIMAL.search(question + answer)
        if plain and len(answer) <= LONGEST and question not in seen:
            seen.add(question)
            yield {"prompt": f"Question: {question}\nAnswer:", "answer": answer}


if __name__ == "__main__":
    rows = problems()
    for name, size in SIZES.items():
        lines = [json.dumps(next(rows), ensure_ascii=False) + "\n" for _ in range(size)]
        (Path(__file__).parent / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
