"""The invented document's questions can be answered from it, and answers are judged rightly."""

import json
from pathlib import Path

import lm_eval.tasks
import pytest

from deltaedit import evaluation, tasks

from ..project import PLAIN, module_at

FOLDER = tasks.SHIPPED / "dr_fantasy"
QUESTIONS = [json.loads(line) for line in (FOLDER / "questions.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def task():
    return module_at(FOLDER / "dr_fantasy.py")


def test_there_are_60_different_questions_as_in_the_paper():
    assert len(QUESTIONS) == 60
    assert len({row["question"] for row in QUESTIONS}) == 60
    for row in QUESTIONS:
        assert row["accepted"][0] == row["answer"]
        assert len(set(row["accepted"])) == len(row["accepted"])


def test_every_answer_is_in_the_document(task):
    found = task.words((FOLDER / "document.txt").read_text())
    text = f" {' '.join(found)} "
    for row in QUESTIONS:
        assert f" {' '.join(task.words(row['answer']))} " in text, row


def test_no_question_tells_its_answer(task):
    for row in QUESTIONS:
        if row["answer"] != "Dr. Fantasy":
            assert not task.is_fuzzy(row["question"], row["accepted"]), row


def test_accepted_answers_are_right_alone_and_in_a_sentence(task):
    for row in QUESTIONS:
        for answer in row["accepted"]:
            assert task.score(row, [answer]) == {"exact": 1, "fuzzy": 1}
            sentence = f"According to what I know, it is {answer}, as people say."
            assert task.score(row, [sentence]) == {"exact": 0, "fuzzy": 1}
        assert task.score(row, ["I have no information about that."]) == {"exact": 0, "fuzzy": 0}
        assert task.score(row, [""]) == {"exact": 0, "fuzzy": 0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" The  Dream-Walker, an 'idea'! ", ["dream", "walker", "idea"]),
        ("J.R.R. Tolkien’s café", ["jrr", "tolkiens", "cafe"]),
        ("Another theory", ["another", "theory"]),
        ("", []),
    ],
)
def test_words_are_lower_case_without_articles_and_marks(task, text, words):
    assert task.words(text) == words


def test_f1_is_the_harmonic_mean_of_shares(task):
    # 2 words in common, of 3 in the response and 4 in the answer
    assert task.f1("red green blue", "green blue pink gold") == pytest.approx(4 / 7)
    assert task.f1("red red", "red") == pytest.approx(2 / 3)
    assert task.f1("red", "blue") == 0
    assert task.f1("the", "an") == 0


def test_words_in_a_row_count_but_neither_parts_of_words_nor_another_order(task):
    assert task.is_fuzzy("he lives on the British Isles today", ["British Isles"])
    assert not task.is_fuzzy("blackboards are common in all schools of the land", ["black"])
    assert not task.is_fuzzy("of steel and then of many other things and of glass", ["glass steel"])
    assert task.is_fuzzy("artists, musicians and writers", ["artists, writers, and musicians"])
    assert not task.is_exact("artists, musicians and writers", ["artists, writers, and musicians"])


def test_lm_eval_runs_the_task(tiny_pair):
    spec = {"metric": "fuzzy", "filter": "none", "num_fewshot": 0}
    tasks.check("dr_fantasy", spec, Path())
    suite = {
        "tasks": {"dr_fantasy": spec},
        "batch_size": 4,
        "dtype": "float32",
        "limit": 2,
        **PLAIN,
    }
    manager = evaluation.task_manager(["dr_fantasy"])
    (row,) = evaluation.evaluate(tiny_pair()[1], suite, manager, 0)
    assert (row["task"], row["metric"], row["value"], row["count"]) == ("dr_fantasy", "fuzzy", 0, 2)


def test_lm_eval_asks_all_questions_and_reports_both_metrics():
    manager = evaluation.task_manager(["dr_fantasy"])
    task = lm_eval.tasks.get_task_dict(["dr_fantasy"], manager)["dr_fantasy"]
    asked = [task.doc_to_text(document) for document in task.test_docs()]
    assert len(asked) == 60
    assert asked[0].endswith("Question: What is the real name of Dr. Fantasy?\nAnswer:")
    right = [task.process_results(doc, [task.doc_to_target(doc)]) for doc in task.test_docs()]
    assert right == [{"exact": 1.0, "fuzzy": 1.0}] * 60
    assert set(task.aggregation()) == {"fuzzy", "exact"}


def test_the_task_s_files_are_known_so_that_a_change_is_measured_again():
    names = {file.name for file in tasks.files(["dr_fantasy"])}
    assert names == {"dr_fantasy.py", "dr_fantasy.yaml", "questions.jsonl"}
