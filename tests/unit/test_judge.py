"""A judge is asked as told, patiently, and its yes or no is understood; a local server replies."""

import json
import math
import threading

import pytest
import yaml

from deltaedit import config as configuration
from deltaedit import evaluation, memo, models, results
from deltaedit.errors import UserError
from deltaedit.judge import Judge, is_right, parse

from ..endpoint import reply
from ..project import PLAIN, ROOT


def ask(by):
    return is_right(by, "The cat is red.", "What color is the cat?", "red")


# --- the reply ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("yes", True), ("Yes.", True), (" **YES**, it is", True), ("no", False), ("No\n", False),
        ('"no"', False), ("maybe", None), ("", None), ("nope", None), ("I think yes", None),
        ("yesterday", None), ("not right", None),
    ],
)  # fmt: skip
def test_a_reply_is_yes_or_no_by_its_first_word(text, verdict):
    assert parse(text) is verdict


def test_a_verdict_is_what_the_endpoint_replies(endpoint):
    for text, verdict in (("Yes", True), ("no", False), ("hm", None)):
        endpoint.replies = [reply(text)]
        assert ask(endpoint.judge()) is verdict


# --- the request ----------------------------------------------------------------------------------


def test_the_request_holds_the_whole_document_and_is_the_same_each_time(endpoint):
    ask(endpoint.judge())
    ask(endpoint.judge())
    (path, headers, body), (_, _, again) = endpoint.seen
    assert path == "/v1/chat/completions"
    assert body == again
    assert (body["model"], body["temperature"], body["seed"]) == ("m", 0, 0)
    system, user = body["messages"]
    assert (system["role"], user["role"]) == ("system", "user")
    assert "The cat is red." in user["content"]
    assert "Question: What color is the cat?\n\nAnswer: red\n" in user["content"]
    assert "Authorization" not in headers


def test_the_key_is_that_of_the_environment(endpoint, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "a secret")
    ask(endpoint.judge(key_variable="JUDGE_KEY"))
    assert endpoint.seen[0][1]["Authorization"] == "Bearer a secret"
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(UserError, match=r"^the environment variable 'JUDGE_KEY' is not set$"):
        ask(endpoint.judge(key_variable="JUDGE_KEY"))
    assert len(endpoint.seen) == 1


# --- trouble --------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [(429, "slow down"), (503, ""), (None, "")])
def test_trouble_that_passes_is_waited_out(endpoint, trouble):
    endpoint.replies = [trouble, trouble, reply("no")]
    assert ask(endpoint.judge()) is False
    assert len(endpoint.seen) == 3


def test_trouble_that_stays_is_one_line(endpoint):
    endpoint.replies = [(500, "over\n\nloaded")]
    with pytest.raises(UserError, match=r"v1: no answer after 3 tries; status 500: over loaded$"):
        ask(endpoint.judge(tries=3))
    assert len(endpoint.seen) == 3


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, '{"error": "no key"}'), r'status 401: \{"error": "no key"\}$'),
        ((404, ""), "status 404: Not Found$"),
        ((200, "<html>"), "the reply is no JSON"),
        ((200, "[]"), r"the reply has no choices\[0\]"),
        ((200, '{"choices": []}'), r"the reply has no choices\[0\]"),
    ],
)
def test_what_another_try_would_not_mend_is_said_at_once(endpoint, answer, message):
    endpoint.replies = [answer]
    with pytest.raises(UserError, match=f"^http://127[^\n]*{message}"):
        ask(endpoint.judge())
    assert len(endpoint.seen) == 1


def test_a_server_that_is_silent_or_absent_is_one_line(endpoint):
    wait = threading.Event()
    endpoint.replies = [(200, lambda body: wait.wait(5) and "")]
    with pytest.raises(UserError, match=r"no answer after 2 tries; timed out$"):
        ask(endpoint.judge(tries=2, timeout=0.2))
    wait.set()
    absent = Judge(url="http://127.0.0.1:9", model="m", tries=2, pause=0.0)
    with pytest.raises(
        UserError, match=r"^http://127\.0\.0\.1:9: no answer after 2 tries; [^\n]+$"
    ):
        ask(absent)


@pytest.mark.parametrize("url", ["localhost:8000/v1", "file:///etc"])
def test_a_url_is_one_of_the_web(url):
    with pytest.raises(UserError, match="url must begin with http://"):
        Judge(url=url, model="m")


# --- in an evaluation -----------------------------------------------------------------------------

ABOUT = {"document": str(ROOT / "workflow/tasks/dr_fantasy/document.txt"), "key_variable": ""}
TASK = {"metric": "judged", "filter": "none", "num_fewshot": 0}


def suite_of(name, url, model="m"):
    spec = {**TASK, "judge": {"url": url, "model": model, **ABOUT}}
    return {"tasks": {name: spec}, "batch_size": 4, "dtype": "float32", "limit": 4} | PLAIN


@pytest.fixture
def evaluate(tiny_pair, tmp_path):
    """Return a function that has answers of a tiny model judged, and keeps what it measured."""
    folder, keep = tiny_pair()[1], memo.keeper(tmp_path / "kept", {})

    def run(*args):
        suite = suite_of(*args)
        manager = evaluation.task_manager(list(suite["tasks"]))
        return evaluation.evaluate(folder, suite, manager, 0, keep)

    return run


def test_a_judged_task_scores_the_share_that_is_right_and_keeps_the_answers(endpoint, evaluate):
    endpoint.replies = [reply("yes"), reply("no"), reply("hm"), reply("yes")]
    (row,) = evaluate("dr_fantasy", endpoint.url)
    assert (row["metric"], row["value"], row["count"]) == ("judged", 0.5, 4)
    assert row["stderr"] == pytest.approx(math.sqrt(0.25 / 3))
    assert [one["is_right"] for one in row["answers"]] == [True, False, None, True]
    for one, (_, _, body) in zip(row["answers"], endpoint.seen, strict=True):
        said = body["messages"][1]["content"]
        assert "His real name was Elliot Thompson" in said, "the document is before the judge"
        assert f"Question: {one['question']}\n\nAnswer: {one['answer'].strip()}\n" in said


def test_another_judge_judges_the_same_answers_and_none_twice(endpoint, evaluate, monkeypatch):
    first = evaluate("dr_fantasy", endpoint.url)
    monkeypatch.setattr(models, "load_causal_lm", None)  # nothing is generated again
    assert evaluate("dr_fantasy", endpoint.url) == first
    assert evaluate("dr_fantasy", "http://127.0.0.1:9/v1") == first, "the judge has moved"
    assert len(endpoint.seen) == 4
    endpoint.replies = [reply("no")]
    (row,) = evaluate("dr_fantasy", endpoint.url, "another")
    assert row["value"] == 0
    assert len(endpoint.seen) == 8


def test_answers_outlive_a_judge_that_does_not_answer(endpoint, evaluate, monkeypatch):
    endpoint.replies = [(403, "go away")]
    with pytest.raises(UserError, match=r"status 403: go away$"):
        evaluate("dr_fantasy", endpoint.url)
    endpoint.replies = [reply("yes")]
    monkeypatch.setattr(models, "load_causal_lm", None)
    (row,) = evaluate("dr_fantasy", endpoint.url)
    assert row["value"] == 1


def test_a_task_without_questions_is_not_judged(endpoint, evaluate):
    with pytest.raises(UserError, match="'demo_code' has no answers to judge by the filter 'none'"):
        evaluate("demo_code", endpoint.url)


def test_a_table_of_scores_holds_no_answers(tmp_path):
    row = {"pair": "p", "task": "t", "value": 1.0, "stderr": 0.0, "answers": [{"question": "?"}]}
    text = json.dumps({"rows": [row], "provenance": {"base": {}, "post": {}}})
    (tmp_path / "a.json").write_text(text)
    for table in (results.read_scores([tmp_path / "a.json"]), results.read([tmp_path / "a.json"])):
        assert "answers" not in table


# --- in a config ----------------------------------------------------------------------------------


def check(tmp_path, task, **judge):
    """Check a study whose suite has `task`, judged by one with these options."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    document = "workflow/tasks/dr_fantasy/document.txt"
    config["judges"] = {"big": {"url": "http://h/v1", "model": "m", "document": document} | judge}
    config["suites"]["known"] = {"tasks": {"dr_fantasy": task}, "batch_size": 1}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    configuration.check(config, [tmp_path / "study.yaml"], ROOT)


def test_a_config_names_the_judge_of_a_task(tmp_path):
    check(tmp_path, {"metric": "judged", "judge": "big"})
    check(tmp_path, {"metric": "fuzzy"})


@pytest.mark.parametrize(
    ("task", "judge", "message"),
    [
        ({"metric": "judged", "judge": "bag"}, {}, "judge: unknown judge 'bag'. Did you mean 'big"),
        ({"metric": "judged"}, {}, "the metric 'judged' and a judge belong together; give both"),
        ({"metric": "fuzzy", "judge": "big"}, {}, "the metric 'judged' and a judge belong togeth"),
        ({"metric": "fuzzy"}, {"url": "h:80"}, "judges.big.url: got 'h:80', must be an endpoint"),
        ({"metric": "fuzzy"}, {"document": "x"}, "judges.big.document: no file 'x' in "),
        ({"metric": "fuzzy"}, {"key": "secret"}, "judges.big: unknown key 'key'"),
    ],
)
def test_a_wrong_judge_is_refused_in_one_line(tmp_path, task, judge, message):
    with pytest.raises(configuration.ConfigError) as error:
        check(tmp_path, task, **judge)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
