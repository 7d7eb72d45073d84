"""A dataset's split arrives as JSON lines, from the commit that was named, or not at all."""

import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow.parquet import write_table

from .hub_server import HubServer

REPO = "lab/sums"
REVISION = "0123456789abcdef0123456789abcdef01234567"
LIBRARY = Path(__file__).parents[2] / "workflow/scripts"
ROWS = [
    {"question": "2 + 3 ?", "answer": "5", "level": 1},
    {"question": "zwölf ?", "answer": "12", "level": 2},
    {"question": "1 + 1 ?", "answer": "2", "level": 1},
]

# The user's own process: the libraries read HF_ENDPOINT and HF_HOME when they are imported.
PROGRAM = """
import json, logging, sys
from pathlib import Path
from deltaedit.hub import SourceError
from deltaedit.hub_data import download
logging.basicConfig(level="INFO")
sources, target, options = map(json.loads, sys.argv[1:])
for source in sources:
    try:
        download(source, Path(target), **options)
    except SourceError as error:
        print(f"refused: {error}", flush=True)
"""
CARD = """---
configs:
- config_name: easy
  data_files: [{split: train, path: "easy/train-*"}, {split: test, path: "easy/test-*"}]
- config_name: hard
  data_files: [{split: test, path: "hard/test-*"}]
---
"""


def as_parquet(rows):
    file = io.BytesIO()
    write_table(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


def as_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


LINES = {"train.jsonl": as_lines(ROWS[:1]), "test.jsonl": as_lines(ROWS)}
CONFIGURED = {
    "README.md": CARD.encode(),
    "easy/train-0.parquet": as_parquet(ROWS[:1]),
    "easy/test-0.parquet": as_parquet(ROWS[:2]),
    "hard/test-0.parquet": as_parquet(ROWS),
}


@pytest.fixture
def serve(request):
    """Return a function that starts a hub with the given files."""

    def start(files):
        hub = HubServer(files, REVISION, REPO, "datasets")
        request.addfinalizer(lambda: hub.__exit__())
        return hub.__enter__()

    return start


@pytest.fixture
def target(tmp_path):
    return tmp_path / "data" / "sums.jsonl"


@pytest.fixture
def fetch(tmp_path, target):
    """Return a function that fetches in a process of its own, as a job does.

    It takes one source or several, as changes to the usual one, and returns the refusals.
    """

    def run(hub, *changes, environment=()):
        foreign = ("HF_", "HUGGING", "http", "HTTP", "all_", "ALL_")
        env = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        env |= {"PYTHONPATH": str(LIBRARY), "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "h")}
        usual = {"repo": REPO, "revision": REVISION, "split": "test"}
        sources = [{**usual, **change} for change in changes or [{}]]
        arguments = map(json.dumps, (sources, str(target), {"retries": 1, "wait": 0.01}))
        command = [sys.executable, "-c", PROGRAM, *arguments]
        env |= dict(environment)
        done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        refusals = [line for line in done.stdout.splitlines() if line.startswith("refused: ")]
        return [line.removeprefix("refused: ") for line in refusals]

    return run


def written(target):
    return [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]


def beside(target):
    return list(target.parent.iterdir()) if target.parent.is_dir() else []


def test_a_split_of_json_lines_arrives_in_order(serve, fetch, target):
    assert fetch(serve(LINES)) == []
    assert written(target) == ROWS
    assert beside(target) == [target]


def test_a_split_of_a_configuration_in_parquet_arrives(serve, fetch, target):
    assert fetch(serve(CONFIGURED), {"name": "hard"}) == []
    assert written(target) == ROWS


def test_fields_rename_columns_and_leave_the_others_out(serve, fetch, target):
    fields = {"prompt": "question", "answer": "answer", "again": "answer"}
    assert fetch(serve(LINES), {"fields": fields, "split": "test[1:]"}) == []
    assert written(target) == [
        {"prompt": row["question"], "answer": row["answer"], "again": row["answer"]}
        for row in ROWS[1:]
    ]


def test_a_folder_of_the_dataset_s_name_is_not_taken_for_it(serve, fetch, target, tmp_path):
    (tmp_path / REPO).mkdir(parents=True)
    (tmp_path / REPO / "test.jsonl").write_bytes(as_lines(ROWS[:1]))
    assert fetch(serve(LINES)) == []
    assert written(target) == ROWS


def test_passing_failures_are_survived(serve, fetch, target):
    hub = serve(LINES)
    hub.fault("", "503")
    hub.fault("test.jsonl", "reset")
    assert fetch(hub) == []
    assert written(target) == ROWS


def test_patience_ends_with_one_line(serve, fetch, target):
    hub = serve(LINES)
    hub.fault("", "503", times=math.inf)
    (refusal,) = fetch(hub)
    assert "check connection and HF_ENDPOINT" in refusal
    assert len(hub.requests) == 2
    assert beside(target) == []


ABSENT = [
    ({"revision": "f" * 40}, "no such revision; copy a full commit hash"),
    ({"revision": "main"}, "revision 'main' is not a full commit hash"),
    ({"split": "tests"}, "Unknown split \"tests\". Should be one of ['train', 'test']"),
    (
        {"fields": {"prompt": "questions"}},
        "unknown column 'questions'. Did you mean 'question'? Known: answer, level, question",
    ),
]
UNNAMED = [
    ({"name": "harder"}, "'harder' not found. Available: ['easy', 'hard']; correct"),
    ({}, "pick one among the available configs: ['easy', 'hard']"),
]


@pytest.mark.parametrize(
    ("files", "cases"),
    [
        (LINES, ABSENT),
        (CONFIGURED, UNNAMED),
        ({"weights.bin": b"?"}, [({}, "cannot be read")]),
        ({"test.parquet": b"?"}, [({}, "cannot be read")]),
        ({**LINES, "sums.py": b"?"}, [({}, "its data come from sums.py, which can run code")]),
        ({"test.jsonl": b'{"on": "2024-01-01T00:00:00"}\n'}, [({}, "datetime is not JSON")]),
    ],
    ids=["absent", "unnamed", "no data", "damaged", "script", "no text"],
)
def test_what_is_not_there_is_refused_in_one_line(serve, fetch, target, files, cases):
    refusals = fetch(serve(files), *(change for change, _ in cases))
    for refusal, (_, wanted) in zip(refusals, cases, strict=True):
        assert refusal.startswith(f"hub datasets/{REPO}@")
        assert wanted in refusal
    assert beside(target) == []


@pytest.mark.parametrize(
    ("part", "answer", "remedy"),
    [
        ("refuse", (404, "RepoNotFound"), "no such repository"),
        ("gate", (403, "GatedRepo"), "accept the licence on http://127.0.0.1:"),
    ],
)
def test_a_refusal_is_one_line_and_not_repeated(serve, fetch, target, part, answer, remedy):
    hub = serve(LINES)
    setattr(hub, part, answer)
    (refusal,) = fetch(hub)
    assert remedy in refusal
    assert f"datasets/{REPO}" in refusal
    assert len(hub.requests) == len({request.path for request in hub.requests})
    assert beside(target) == []


def test_the_cache_serves_offline_and_only_the_commit_that_was_named(serve, fetch, target):
    hub = serve(LINES)
    assert fetch(hub) == []
    target.unlink()
    hub.requests.clear()
    (refusal,) = fetch(hub, {}, {"revision": "f" * 40}, environment={"HF_HUB_OFFLINE": "1"})
    assert "not complete in the cache; unset HF_HUB_OFFLINE" in refusal
    assert written(target) == ROWS
    assert hub.requests == []
