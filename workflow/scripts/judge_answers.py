"""Judge the responses of an lm-eval run about a document by a language model, from a shell.

No rule runs this: results of the workflow hold no responses. First

    lm_eval --model hf --model_args pretrained=CHECKPOINT --tasks dr_fantasy \
        --include_path workflow/tasks/dr_fantasy --log_samples --output_path out

then, with the file of samples that this writes,

    python workflow/scripts/judge_answers.py out/.../samples_dr_fantasy_....jsonl judged.jsonl \
        --url http://localhost:8000/v1 --model meta-llama/Llama-3.1-70B-Instruct

which writes a line per response with its verdict, and prints the share that is right.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from deltaedit import judge
from deltaedit.errors import UserError
from deltaedit.files import whole_file
from deltaedit.judge import Judge

DOCUMENT = Path(__file__).parents[1] / "tasks" / "dr_fantasy" / "document.txt"


def judge_samples(samples: list[dict[str, Any]], document: str, by: Judge) -> list[dict[str, Any]]:
    rows = []
    for sample in samples:
        question, response = sample["doc"]["question"], sample["filtered_resps"][0]
        verdict = judge.is_right(by, document, question, response)
        rows.append({"question": question, "response": response, "is_right": verdict})
    return rows


def summary(rows: list[dict[str, Any]]) -> str:
    """Say which share is right, in % with its standard error; no verdict counts as wrong."""
    count, silent = len(rows), sum(row["is_right"] is None for row in rows)
    share = sum(row["is_right"] is True for row in rows) / count
    stderr = math.sqrt(share * (1 - share) / max(count - 1, 1))
    without = f", of which {silent} without a verdict count as wrong" if silent else ""
    return f"{100 * share:.1f} ± {100 * stderr:.1f} % of {count} responses are right{without}"


def read_samples(path: Path) -> list[dict[str, Any]]:
    samples = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if not samples or any("question" not in sample["doc"] for sample in samples):
        raise UserError(f"{path}: no samples of dr_fantasy")
    return samples


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("samples", type=Path, help="JSON lines that lm_eval --log_samples writes")
    parser.add_argument("judged", type=Path, help="JSON lines to write")
    parser.add_argument("--url", required=True, help="of the endpoint, up to and with /v1")
    parser.add_argument("--model", required=True, help="the judge, as the endpoint calls it")
    parser.add_argument("--key-variable", default="", help="environment variable with the key")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="that answers are about")
    asked = parser.parse_args(arguments)
    by = Judge(url=asked.url, model=asked.model, key_variable=asked.key_variable)
    document = asked.document.read_text(encoding="utf-8")
    rows = judge_samples(read_samples(asked.samples), document, by)
    with whole_file(asked.judged) as partial:
        lines = (json.dumps({**row, "judge": by.model}) + "\n" for row in rows)
        partial.write_text("".join(lines), encoding="utf-8")
    print(summary(rows))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
