"""Ask a language model whether answers about a document are right.

As in section 4.4 of Cao et al. 2025, ParamDelta: the judge (theirs is Llama-3.1-70B-Instruct) has
the entire document before it. Their prompt is not published; this one is ours. The judge is any
endpoint that speaks OpenAI's chat protocol. A task of a suite is judged so with `metric: judged`.
"""

import http.client
import json
import math
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deltaedit.errors import UserError

SYSTEM = (
    "You judge answers to questions about a document. An answer is right if the document supports "
    "it and it answers the question; details that are left out or added do not matter unless they "
    "contradict the document. An answer that says it does not know is wrong. Reply with one word, "
    "yes if the answer is right and no if it is wrong."
)
METRIC = "judged"
PASSING = (408, 429, 500, 502, 503, 504)  # statuses that another try may not meet
LONGEST_WAIT = 60.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Judge:
    """An endpoint and a model behind it."""

    url: str  # up to the version, such as http://localhost:8000/v1
    model: str
    key_variable: str = ""  # the environment variable that holds the key, if one is needed
    timeout: float = 60.0  # seconds that a try may take
    tries: int = 4
    pause: float = 1.0  # seconds before the second try, doubled before each further one

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise UserError(f"url must begin with http:// or https://, got {self.url!r}")
        if self.tries < 1:
            raise UserError(f"tries must be 1 or more, got {self.tries}")


def judge_all(
    judge: Judge, document: str, answers: Sequence[Mapping[str, str]]
) -> list[dict[str, Any]]:
    """Return questions and answers, each with `is_right`, the judge's verdict (None without one).

    Raises:
        UserError: see `is_right`.
    """
    return [
        {**one, "is_right": is_right(judge, document, one["question"], one["answer"])}
        for one in answers
    ]


def score(judged: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the share of right answers and its standard error; without a verdict one is wrong."""
    count = len(judged)
    share = sum(one["is_right"] is True for one in judged) / count
    return share, math.sqrt(share * (1 - share) / max(count - 1, 1))


def is_right(judge: Judge, document: str, question: str, answer: str) -> bool | None:
    """Return whether the judge calls an answer right; None if it says neither yes nor no.

    The prompt depends on the arguments alone and the judge takes its likeliest words (temperature
    0), so that the same judge says the same again, as far as its server does.

    Args:
        judge: who is asked.
        document: that the question is about, in full.
        question: as it was asked.
        answer: to judge, as it was given.

    Raises:
        UserError: the key is not set, or the endpoint refuses or does not answer, in one line.
    """
    return parse(_complete(judge, messages(document, question, answer)))


def messages(document: str, question: str, answer: str) -> list[dict[str, str]]:
    """Return the prompt of a judgement, as messages of a chat."""
    asked = (
        f"Document:\n{document.strip()}\n\nQuestion: {question.strip()}\n\n"
        f"Answer: {answer.strip()}\n\nIs the answer right? Reply with yes or no."
    )
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}]


def parse(reply: str) -> bool | None:
    """Return True for a reply that begins with yes, False for no, None for anything else."""
    found = re.match(r"\W*(yes|no)\b", reply, re.IGNORECASE)
    return found and found[1].lower() == "yes"


def _complete(judge: Judge, prompt: list[dict[str, str]]) -> str:
    """Return the text with which an endpoint completes a chat."""
    body = {"model": judge.model, "messages": prompt, "temperature": 0, "max_tokens": 8, "seed": 0}
    request = urllib.request.Request(
        f"{judge.url.rstrip('/')}/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **_authorization(judge)},
    )
    reply = _send(judge, request)
    try:
        return str(reply["choices"][0]["message"]["content"] or "")
    except (KeyError, IndexError, TypeError):
        raise UserError(f"{judge.url}: the reply has no choices[0].message.content") from None


def _authorization(judge: Judge) -> dict[str, str]:
    if not judge.key_variable:
        return {}
    if not (key := os.environ.get(judge.key_variable)):
        raise UserError(f"the environment variable {judge.key_variable!r} is not set")
    return {"Authorization": f"Bearer {key}"}


def _send(judge: Judge, request: urllib.request.Request) -> Any:
    """Return the JSON that an endpoint replies, tried again where that may help."""
    for left in reversed(range(judge.tries)):
        wait = min(judge.pause * 2 ** (judge.tries - 1 - left), LONGEST_WAIT)
        try:
            with urllib.request.urlopen(request, timeout=judge.timeout) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as error:
            why = f"status {error.code}: {_one_line(error)}"
            if error.code not in PASSING:
                raise UserError(f"{judge.url}: {why}") from None
        except json.JSONDecodeError:
            raise UserError(f"{judge.url}: the reply is no JSON; is it the right URL?") from None
        except (OSError, http.client.HTTPException) as error:  # no connection, or it broke
            why = str(getattr(error, "reason", error)) or type(error).__name__
        if left:
            time.sleep(wait)
    raise UserError(f"{judge.url}: no answer after {judge.tries} tries; {why}")


def _one_line(error: urllib.error.HTTPError) -> str:
    return " ".join(error.read(500).decode(errors="replace").split())[:200] or error.reason
