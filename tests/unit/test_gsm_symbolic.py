"""Word problems: none asked was trained on, and right answers are told from wrong ones."""

import json

import lm_eval.evaluator
import lm_eval.tasks
import pytest
from lm_eval.api.model import LM

from deltaedit import evaluation, tasks

FOLDER = tasks.SHIPPED / "gsm_symbolic"
TRAIN, TEST = (
    [json.loads(line) for line in (FOLDER / f"{split}.jsonl").read_text("utf-8").splitlines()]
    for split in ("train", "test")
)


class Answering(LM):
    """A model that answers the problems of `TEST` as it is told to."""

    def __init__(self, answer):
        super().__init__()
        self._answers = {row["prompt"]: answer(row["answer"]) for row in TEST}

    def generate_until(self, requests):
        return [self._answers[request.args[0]] for request in requests]

    def loglikelihood(self, requests):
        raise NotImplementedError

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError


def ask(answer):
    found = lm_eval.evaluator.simple_evaluate(
        Answering(answer),
        tasks=["gsm_symbolic"],
        task_manager=evaluation.task_manager(["gsm_symbolic"]),
        bootstrap_iters=0,
    )
    scores = found["results"]["gsm_symbolic"]
    return scores["exact_match,strict-match"], scores["exact_match,flexible-extract"]


def test_no_problem_stands_twice():
    questions = [row["prompt"] for row in (*TRAIN, *TEST)]
    assert len(set(questions)) == len(questions) == 800


@pytest.mark.parametrize(
    ("answer", "scores"),
    [
        (lambda answer: f" {answer}", (1, 1)),
        (lambda answer: f" {answer}\n\nThat is all.", (1, 1)),
        (lambda answer: " The answer is " + answer.split("#### ")[1], (0, 1)),
        (lambda answer: " " + answer.replace("#### ", "#### 1"), (0, 0)),
        (lambda answer: " I do not know", (0, 0)),
    ],
)
def test_only_the_right_number_in_the_right_place_is_right(answer, scores):
    assert ask(answer) == scores


def test_a_prompt_is_asked_as_it_was_trained():
    manager = evaluation.task_manager(["gsm_symbolic"])
    task = lm_eval.tasks.get_task_dict(["gsm_symbolic"], manager)["gsm_symbolic"]
    assert [task.doc_to_text(document) for document in task.test_docs()] == [
        row["prompt"] for row in TEST
    ]
    assert task.config.target_delimiter == " ", "and the answer follows a space"
