"""Word problems in the manner of GSM8K, for lm-eval."""

import json
from pathlib import Path
from typing import Any

from datasets import Dataset


def documents(**metadata: Any) -> dict[str, Dataset]:
    """Read the problems to train on, and those to ask."""
    return {split: Dataset.from_list(_rows(split)) for split in ("train", "test")}


def _rows(split: str) -> list[dict[str, str]]:
    text = (Path(__file__).parent / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
