"""A dataset's split arrives as lines or images, from the commit that was named, or not at all."""

import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value, load_dataset
from PIL import Image as Picture
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
from deltaedit import hub_data
logging.basicConfig(level="INFO")
download = getattr(hub_data, sys.argv[1])
sources, target, options = map(json.loads, sys.argv[2:])
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

    def run(hub, *changes, environment=(), function="download"):
        foreign = ("HF_", "HUGGING", "http", "HTTP", "all_", "ALL_")
        env = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        env |= {"PYTHONPATH": str(LIBRARY), "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "h")}
        usual = {"repo": REPO, "revision": REVISION, "split": "test"}
        sources = [{**usual, **change} for change in changes or [{}]]
        arguments = map(
            json.dumps, (sources, str(target), {"retries": 1, "wait": 0.01, "key": "a.b.revision"})
        )
        command = [sys.executable, "-c", PROGRAM, function, *arguments]
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
    ({"revision": None}, "a.b.revision is null; fill in the 40 digits of a commit"),
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
        assert refusal.startswith(f"hub datasets/{REPO}")
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


# ---- images ----

COLORS = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
LABELS = [2, 0, 1]


def png(color):
    file = io.BytesIO()
    Picture.new("RGB", (4, 3), color).save(file, "PNG")
    return file.getvalue()


def image_parquet(label, **more):
    """Return a Parquet file as the Hub's datasets have it, its images in PNG."""
    pictures = [{"bytes": png(color), "path": "/elsewhere/1.png"} for color in COLORS]
    columns = {"label": LABELS, "image": pictures, **more}
    features = Features(
        {"label": label, "image": Image()} | {name: Value("string") for name in more}
    )
    file = io.BytesIO()
    Dataset.from_dict(columns, features=features).to_parquet(file)
    return file.getvalue()


NAMED = ClassLabel(names=["x", "y", "z"])
IN_PARQUET = {"data/test-0.parquet": image_parquet(NAMED, note=["not for us"] * 3)}


def pictures(target, tmp_path):
    rows = load_dataset("parquet", data_files=str(target), split="train", cache_dir=str(tmp_path))
    return rows, {row["label"]: row["image"].getpixel((0, 0)) for row in rows}


def test_images_arrive_with_their_labels_and_nothing_else(serve, fetch, target, tmp_path):
    assert fetch(serve(IN_PARQUET), function="download_images") == []
    rows, found = pictures(target, tmp_path)
    assert rows.features == Features({"image": Image(), "label": NAMED})
    assert found == dict(zip(LABELS, COLORS, strict=True))
    table = pyarrow.parquet.read_table(target)
    assert set(table["image"].combine_chunks().field("bytes").to_pylist()) == set(map(png, COLORS))
    assert b"/elsewhere" not in target.read_bytes()
    assert beside(target) == [target]


def test_labels_without_names_arrive(serve, fetch, target, tmp_path):
    files = {"test.parquet": image_parquet(Value("int32"))}
    assert fetch(serve(files), function="download_images") == []
    assert pictures(target, tmp_path)[1] == dict(zip(LABELS, COLORS, strict=True))


@pytest.mark.parametrize(
    ("files", "change", "wanted"),
    [
        (IN_PARQUET, {"split": "tests"}, 'Unknown split "tests"'),
        (IN_PARQUET, {"revision": None}, "a.b.revision is null; fill in the 40 digits of a commit"),
        (LINES, {}, "unknown column 'image'. Known: answer, level, question; name a dataset with"),
        ({"test.parquet": image_parquet(Value("string"))}, {}, "column 'label' holds Value("),
    ],
    ids=["split", "revision", "columns", "types"],
)
def test_what_is_no_images_is_refused_in_one_line(serve, fetch, target, files, change, wanted):
    (refusal,) = fetch(serve(files), change, function="download_images")
    assert wanted in refusal
    assert beside(target) == []
