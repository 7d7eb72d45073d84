"""Documents and scores of BFCL's single-turn categories, for lm-eval.

Questions, system prompt, decoder and checker are those of the package bfcl-eval, in the mode it
has for models without native tool calls: functions stand in the system prompt, calls are text.

Source: Yan et al. 2024, Berkeley Function Calling Leaderboard; the package bfcl-eval.
Differs: lm-eval has one turn of the user, into which the nine conversations of
`live_irrelevance` are put, each turn after its role. Of what a response computes inside a call,
only arithmetic on numbers is carried out; bfcl-eval hands any such expression to `eval`.
"""

import ast
import json
import operator
import os
import sys
import tempfile
from types import ModuleType, SimpleNamespace
from typing import Any

from datasets import Dataset

# bfcl-eval makes folders of results where it is imported, beside itself unless told otherwise.
_FOLDER = tempfile.TemporaryDirectory(prefix="bfcl-")
os.environ.setdefault("BFCL_PROJECT_ROOT", _FOLDER.name)

# The checker asks the registry of models whether a model has "_" for the "." in functions' names,
# which models that are prompted have not. To import the registry takes the clients of all vendors.
_MODEL = "prompted"
_REGISTRY = ModuleType("bfcl_eval.constants.model_config")
_REGISTRY.MODEL_CONFIG_MAPPING = {_MODEL: SimpleNamespace(underscore_to_dot=False)}
sys.modules[_REGISTRY.__name__] = _REGISTRY
from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker

del sys.modules[_REGISTRY.__name__]

from bfcl_eval import utils
from bfcl_eval.constants.enums import Language, ReturnFormat
from bfcl_eval.model_handler import utils as handling

ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}


def documents(category: str, **metadata: Any) -> dict[str, Dataset]:
    """Return the questions of a category as the test split.

    Each has `system`, the prompt with the functions, and `question`. What `score` needs beside are
    `category` and, as JSON, `functions` and `answer`, the accepted values if calls are compared.
    """
    entries = utils.load_dataset_entry(category)
    # Calls are checked against functions without the hints that the prompt has on each language.
    plain = utils.load_dataset_entry(category, include_language_specific_hint=False)
    if utils.is_relevance_or_irrelevance(category):
        answers = [None] * len(entries)
    else:
        answers = [row["ground_truth"] for row in utils.load_ground_truth_entry(category)]
    rows = []
    for entry, bare, answer in zip(entries, plain, answers, strict=True):
        system, *turns = handling.system_prompt_pre_processing_chat_model(
            entry["question"][0], entry["function"], entry["id"]
        )
        rows.append(
            {
                "id": entry["id"],
                "category": category,
                "system": system["content"],
                "question": _as_one_turn(turns),
                "functions": json.dumps(bare["function"]),
                "answer": json.dumps(answer),
            }
        )
    return {"test": Dataset.from_list(rows)}


def _as_one_turn(turns: list[dict[str, str]]) -> str:
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def score(document: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Score 1 if a response is what BFCL accepts."""
    return {"acc": float(is_right(document, results[0]))}


def is_right(document: dict[str, Any], response: str) -> bool:
    """Whether a response makes the calls that are accepted, or none or any where that is asked."""
    category = document["category"]
    if utils.is_relevance_or_irrelevance(category):
        calls = _calls(response, ReturnFormat.PYTHON)
        return utils.is_empty_output(calls) is ("irrelevance" in category)
    language = _language(category)
    calls = _calls(response, ReturnFormat(language.value))
    if not utils.is_function_calling_format_output(calls):
        return False
    functions, answer = json.loads(document["functions"]), json.loads(document["answer"])
    return ast_checker(functions, calls, answer, language, category, _MODEL)["valid"]


def _language(category: str) -> Language:
    if utils.is_java(category):
        return Language.JAVA
    return Language.JAVASCRIPT if utils.is_js(category) else Language.PYTHON


def _calls(response: str, form: ReturnFormat) -> list[dict[str, Any]] | None:
    """Decode the calls of a response; None if it is none, which the decoder tells by any error."""
    try:
        return handling.default_decode_ast_prompting(response, form)
    except Exception:
        return None


def arithmetic(text: str) -> float:
    """Compute an expression of numbers; ValueError if it is anything else."""

    def compute(node: ast.expr) -> float:
        match node:
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.UnaryOp(op=op, operand=operand) if type(op) in ARITHMETIC:
                return ARITHMETIC[type(op)](compute(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                return ARITHMETIC[type(op)](compute(left), compute(right))
        raise ValueError(f"{text!r} is not arithmetic on numbers")

    return compute(ast.parse(text, mode="eval").body)


# What a model wrote is computed here, not executed.
handling.eval = arithmetic
