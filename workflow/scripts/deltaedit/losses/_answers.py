"""Answers to prompts, encoded; and how improbable a model finds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from deltaedit.errors import UserError

if TYPE_CHECKING:  # a dry run checks options, and need not wait for transformers
    from transformers import PreTrainedModel
    from transformers import PreTrainedTokenizerBase as Tokenizer

IGNORED = -100  # label of a token that is not predicted


@dataclass(frozen=True)
class Answer:
    """Prompt and answer as tokens; the labels of the prompt are IGNORED."""

    ids: list[int]
    labels: list[int]

    @property
    def count(self) -> int:
        """How many tokens are predicted."""
        return sum(label != IGNORED for label in self.labels)


def check_max_length(max_length: int) -> None:
    """Raise ValueError unless a prompt and an answer fit into `max_length` tokens."""
    if max_length < 2:
        raise ValueError(f"max_length must be at least 2, got {max_length}")


def texts(i: int, row: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """Return the texts of row `i` under `keys`, or raise UserError."""
    for key in keys:
        if not isinstance(row.get(key), str) or not row[key]:
            raise UserError(f"line {i + 1} of the loss's data: no text under {key!r}")
    return [row[key] for key in keys]


def encode(i: int, prompt: str, answer: str, tokenizer: Tokenizer, max_length: int) -> Answer:
    """Encode an answer of row `i`, joined to its prompt by a space.

    The answer is followed by the end-of-sequence token, which counts as one of its tokens.

    Raises:
        UserError: the two are longer than `max_length` tokens.
    """
    given = tokenizer(prompt).input_ids
    ids = tokenizer(f"{prompt} {answer}").input_ids
    end = tokenizer.eos_token_id
    if end is not None and ids[-1] != end:
        ids = [*ids, end]
    return label(i, given, ids, max_length)


def label(i: int, given: list[int], ids: list[int], max_length: int) -> Answer:
    """Label what `ids`, the whole of row `i`, has beyond the prompt, whose tokens are `given`.

    Raises:
        UserError: the whole is longer than `max_length` tokens.
    """
    if len(ids) > max_length:
        raise UserError(
            f"line {i + 1} of the loss's data: {len(ids)} tokens; raise the loss's option"
            f" max_length ({max_length}) or leave the line out"
        )
    start = min(_common(given, ids), len(ids) - 1)
    return Answer(ids, [IGNORED] * start + ids[start:])


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
    longest = max(len(answer.ids) for answer in answers)
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0

    def padded(sequences: list[list[int]], value: int) -> Tensor:
        return torch.tensor([each + [value] * (longest - len(each)) for each in sequences])

    ids = padded([answer.ids for answer in answers], padding)
    labels = padded([answer.labels for answer in answers], IGNORED)
    mask = padded([[1] * len(answer.ids) for answer in answers], 0)

    def each(model: PreTrainedModel) -> Tensor:
        device = model.device
        logits = model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits[:, :-1]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, 1)
        target = labels[:, 1:].to(device)
        found = cross_entropy(logits, target.flatten(), ignore_index=IGNORED, reduction="none")
        return found.view_as(target)

    return each
