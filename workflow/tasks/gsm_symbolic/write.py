"""Write train.jsonl and test.jsonl beside this file, as README.md says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from reasoning_gym import create_dataset

SEED = 0
SIZES = {"test": 160, "train": 640}  # the test first: training leaves its problems out
DRAWN = 6000
# Characters of an answer, and the size of all numbers: what a model of 135 million weights learns
# in minutes.
LONGEST, LARGEST = 200, 100
RULE = " Give the result as your final answer. Do not include units."
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
ANSWER = re.compile(r"\n#### \d+$")


def problems() -> Iterator[dict[str, str]]:
    """Yield different problems: a prompt, and its answer in steps as GSM8K has it."""
    seen = set()
    for entry in create_dataset("gsm_symbolic", seed=SEED, size=DRAWN):
        question = entry["question"].removesuffix(RULE)
        answer = entry["metadata"]["answer_cot"]
        if _is_easy(question, answer) and question not in seen:
            seen.add(question)
            yield {"prompt": f"Question: {question}\nAnswer:", "answer": answer}


def _is_easy(question: str, answer: str) -> bool:
    found = [number.replace(",", "") for number in NUMBER.findall(question + answer)]
    return (
        ANSWER.search(answer) is not None
        and len(answer) <= LONGEST
        and all(number.isdigit() and int(number) <= LARGEST for number in found)
    )


if __name__ == "__main__":
    rows = problems()
    for name, size in SIZES.items():
        lines = [json.dumps(next(rows), ensure_ascii=False) + "\n" for _ in range(size)]
        (Path(__file__).parent / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
