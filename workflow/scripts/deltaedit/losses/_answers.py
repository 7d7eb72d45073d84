"""Answers to prompts, encoded; and how improbable a model finds them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import TemplateError

from deltaedit.errors import UserError

if TYPE_CHECKING:  # a dry run and each cluster job check options, and need not wait for torch
    from torch import Tensor
    from transformers import PreTrainedModel
    from transformers import PreTrainedTokenizerBase as Tokenizer

IGNORED = -100  # label of a token that is not predicted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """Prompt and answer as tokens; the labels of the prompt are IGNORED."""

    ids: list[int]
    labels: list[int]

    @property
    def count(self) -> int:
        """How many tokens are predicted."""
        return sum(label != IGNORED for label in self.labels)


@dataclass(frozen=True, kw_only=True)
class Encoding:
    max_length: int = 1024  # tokens of prompt and answer
    longer: Literal["refuse", "skip"] = "refuse"  # a longer example: an error, or left out
    chat_template: bool = False  # encode conversations by the tokenizer's own template

    def __post_init__(self) -> None:
        if self.max_length < 2:
            raise ValueError(f"max_length must be at least 2, got {self.max_length}")


class _TooLong(UserError):
    pass


def encode(
    rows: Mapping[int, Mapping[str, Any]],
    keys: Sequence[str],
    tokenizer: Tokenizer,
    params: Encoding,
) -> list[list[Answer]]:
    """Encode the answers of every row, each with the row's prompt before it.

    Every answer ends with the end-of-sequence token, which counts as one of its tokens. Texts are
    joined by a space. With `chat_template` prompt and answers may be lists of messages, a text is
    one message, and the tokenizer's template joins them. An answer of several messages is the
    whole conversation and its last message the answer, as in ultrafeedback_binarized.

    Args:
        rows: by line in the data, each with `prompt` and what `keys` name.
        keys: where a row has its answers.
        tokenizer: the model's own.
        params: see `Encoding`.

    Returns:
        The answers of each row, in the order of `keys`; of the rows short enough if the others
        are to be skipped, and then the log says how many those are.

    Raises:
        UserError: a row without what it needs, or with an answer longer than `max_length` tokens,
            or no row that is shorter; a tokenizer without the template asked for.
    """
    if params.chat_template and not tokenizer.chat_template:
        raise UserError("the tokenizer has no chat template; leave the loss's option out")
    encode_row = _encode_chat if params.chat_template else _encode_texts
    found = []
    for line, row in rows.items():
        try:
            found.append(encode_row(line, row, keys, tokenizer, params.max_length))
        except _TooLong:
            if params.longer == "refuse":
                raise
    limit = f"longer than max_length ({params.max_length}) tokens"
    if not found:
        raise UserError(f"every example of the loss's data is {limit}; raise the loss's option")
    if len(found) < len(rows):
        log.info("left out %d of %d examples, %s", len(rows) - len(found), len(rows), limit)
    return found


def _encode_texts(
    line: int, row: Mapping[str, Any], keys: Sequence[str], tokenizer: Tokenizer, max_length: int
) -> list[Answer]:
    for key in ("prompt", *keys):
        if isinstance(row.get(key), list):
            raise _refusal(
                line, f"a list of messages under {key!r}; set the loss's option chat_template: true"
            )
        if not isinstance(row.get(key), str) or not row[key]:
            raise _refusal(line, f"no text under {key!r}")
    given = tokenizer(row["prompt"]).input_ids
    answers = []
    for key in keys:
        ids = tokenizer(f"{row['prompt']} {row[key]}").input_ids
        end = tokenizer.eos_token_id
        if end is not None and ids[-1] != end:
            ids = [*ids, end]
        answers.append(_label(line, given, ids, max_length))
    return answers


def _encode_chat(
    line: int, row: Mapping[str, Any], keys: Sequence[str], tokenizer: Tokenizer, max_length: int
) -> list[Answer]:
    return [
        _encode_conversation(line, _conversation(line, row, key), tokenizer, max_length)
        for key in keys
    ]


def _conversation(line: int, row: Mapping[str, Any], key: str) -> list[Mapping[str, str]]:
    """Return all messages up to the answer under `key`."""
    answer = _messages(line, row, key, "assistant")
    found = answer if len(answer) > 1 else [*_messages(line, row, "prompt", "user"), *answer]
    if found[-1]["role"] != "assistant":
        raise _refusal(line, f"{key!r} ends in no assistant's message")
    return found


def _messages(line: int, row: Mapping[str, Any], key: str, role: str) -> list[Mapping[str, str]]:
    """Return what is under `key` as messages; a text is one message of `role`."""
    found = row.get(key)
    if isinstance(found, str) and found:
        return [{"role": role, "content": found}]
    if isinstance(found, list) and found:
        fine = (isinstance(each, dict) and {"role", "content"} <= each.keys() for each in found)
        if all(fine):
            return found
    raise _refusal(line, f"no text or messages under {key!r}")


def _encode_conversation(
    line: int, messages: list[Mapping[str, str]], tokenizer: Tokenizer, max_length: int
) -> Answer:
    """Encode a conversation whose last message is the answer.

    The answer begins where the template with its generation prompt ends, and ends with the
    end-of-sequence token, which is added where the template writes none.
    """

    def templated(messages: list[Mapping[str, str]], **options: bool) -> list[int]:
        text = tokenizer.apply_chat_template(messages, tokenize=False, **options)
        return tokenizer(text, add_special_tokens=False).input_ids

    try:
        given, ids = templated(messages[:-1], add_generation_prompt=True), templated(messages)
    except TemplateError as error:
        raise _refusal(line, f"the tokenizer's chat template refuses it: {error}") from None
    end = tokenizer.eos_token_id
    if end in ids[len(given) :]:
        ids = ids[: len(ids) - ids[::-1].index(end)]  # what a template writes after it is no answer
    elif end is not None:
        ids = [*ids, end]
    return _label(line, given, ids, max_length)


def _label(line: int, given: list[int], ids: list[int], max_length: int) -> Answer:
    """Label what `ids`, prompt and answer, has beyond the prompt, whose tokens are `given`."""
    if len(ids) > max_length:
        raise _TooLong(
            f"line {line} of the loss's data: {len(ids)} tokens; raise the loss's option"
            f" max_length ({max_length}), or say longer: skip to leave such lines out"
        )
    start = min(_common(given, ids), len(ids) - 1)
    return Answer(ids, [IGNORED] * start + ids[start:])


def _refusal(line: int, reason: str) -> UserError:
    return UserError(f"line {line} of the loss's data: {reason}")


def _common(first: list[int], second: list[int]) -> int:
    """Return how many tokens two texts have in common before they differ."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(first), len(second)))


def surprisals(
    answers: Sequence[Answer], tokenizer: Tokenizer
) -> Callable[[PreTrainedModel], Tensor]:
    """Return the function of a model that gives -log P of every answer token, in nats.

    Its value is [answers, longest - 1], zero where nothing is predicted; at least float32.
    """
    import torch
    from torch.nn.functional import cross_entropy

    ids = padded([answer.ids for answer in answers], tokenizer.pad_token_id or 0)
    labels = padded([answer.labels for answer in answers], IGNORED)
    mask = padded([[1] * len(answer.ids) for answer in answers], 0)

    def each(model: PreTrainedModel) -> Tensor:
        device = model.device
        inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        logits = model(**inputs, use_cache=False).logits[:, :-1]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, 1)
        target = labels[:, 1:].to(logits.device)  # a model over devices has them elsewhere
        found = cross_entropy(logits, target.flatten(), ignore_index=IGNORED, reduction="none")
        return found.view_as(target)

    return each


def padded(sequences: Sequence[list[int]], value: int) -> Tensor:
    """Return sequences as the rows of one tensor, `value` after those that are shorter."""
    import torch

    longest = max(map(len, sequences))
    return torch.tensor([each + [value] * (longest - len(each)) for each in sequences])
