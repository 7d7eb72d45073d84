"""A judge is asked as told, patiently, and its yes or no is understood; a local server replies."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deltaedit import judge
from deltaedit.errors import UserError
from deltaedit.judge import Judge, is_right, parse

SCRIPT = Path(judge.__file__).parents[1] / "judge_answers.py"


def reply(text):
    return 200, json.dumps({"choices": [{"message": {"content": text}}]})


class Endpoint:
    """A server that gives its replies in turn, the last for ever, and keeps what it was sent."""

    def __init__(self):
        self.replies, self.seen = [reply("yes")], []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.seen.append((self.path, dict(self.headers), body))
                left = endpoint.replies
                status, text = left.pop(0) if len(left) > 1 else left[0]
                if callable(text):
                    text = text(body)
                if status is None:  # hang up
                    self.close_connection = True
                    return
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *args: None  # of one that no longer waits
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def judge(self, **options):
        return Judge(url=self.url, model="m", **{"pause": 0.0, "timeout": 5.0} | options)


@pytest.fixture
def endpoint():
    found = Endpoint()
    yield found
    found.server.shutdown()
    found.server.server_close()


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


# --- the script -----------------------------------------------------------------------------------


def sample(question, response):
    return json.dumps({"doc": {"question": question}, "filtered_resps": [response]}) + "\n"


def run(*arguments):
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_the_script_judges_each_sample_and_says_the_share(endpoint, tmp_path):
    def by_answer(body):
        said = body["messages"][1]["content"]
        assert "His real name was Elliot Thompson" in said, "the document is the task's"
        verdict = "yes" if "Answer: Elliot" in said else "no" if "Answer: Bob" in said else "hm"
        return reply(verdict)[1]

    endpoint.replies = [(200, by_answer)]
    (tmp_path / "samples.jsonl").write_text(
        sample("Who?", "Elliot Thompson") + sample("Who?", "Bob") + sample("Who?", "Eve")
        + sample("Who?", "Elliot, I guess")
    )  # fmt: skip
    files = tmp_path / "samples.jsonl", tmp_path / "judged.jsonl"
    done = run(*files, "--url", endpoint.url, "--model", "m")
    assert done.returncode == 0, done.stderr
    said = "50.0 ± 28.9 % of 4 responses are right, of which 1 without a verdict count as wrong"
    assert done.stdout == f"{said}\n"
    rows = [json.loads(line) for line in files[1].read_text().splitlines()]
    assert [row["is_right"] for row in rows] == [True, False, None, True]
    assert rows[0] == {
        "question": "Who?", "response": "Elliot Thompson", "is_right": True, "judge": "m",
    }  # fmt: skip


def test_the_script_fails_in_one_line_and_leaves_nothing(endpoint, tmp_path):
    endpoint.replies = [(403, "go away")]
    (tmp_path / "samples.jsonl").write_text(sample("Who?", "Bob"))
    files = tmp_path / "samples.jsonl", tmp_path / "judged.jsonl"
    done = run(*files, "--url", endpoint.url, "--model", "m")
    assert done.returncode == 1
    assert done.stderr == f"error: {endpoint.url}: status 403: go away\n"
    assert not files[1].exists()
    (tmp_path / "samples.jsonl").write_text("")
    assert "no samples of dr_fantasy" in run(*files, "--url", endpoint.url, "--model", "m").stderr
