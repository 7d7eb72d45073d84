"""A checkpoint arrives whole, as published, or not at all."""

import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from deltaedit.download import SourceError, download

from .hub_server import HubServer, blob_hash

REPO = "lab/tiny"
REVISION = "0123456789abcdef0123456789abcdef01234567"
LIBRARY = Path(__file__).parents[2] / "workflow/scripts"
WANTED = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
WANTED |= {"tokenizer.model", "chat_template.jinja"}
UNWANTED = {
    name: b"not for us"
    for name in (
        ".gitattributes",
        "README.md",
        "modeling_tiny.py",
        "pytorch_model.bin",
        "extra.safetensors",
        "original/tokenizer.model",
        "original/consolidated.safetensors",
        "onnx/model.onnx",
    )
}

# The user's own process: huggingface_hub reads HF_ENDPOINT and HF_HOME when it is imported.
PROGRAM = """
import json, logging, sys
from pathlib import Path
from deltaedit.download import SourceError, download
logging.basicConfig(level="INFO")
source, target, options = map(json.loads, sys.argv[1:])
try:
    download(source, Path(target), **options)
except SourceError as error:
    sys.exit(f"refused: {error}")
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the files of a tiny language model, saved whole and saved in shards."""
    torch.manual_seed(0)
    sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, vocab_size=64)
    model = LlamaForCausalLM(LlamaConfig(num_attention_heads=2, num_key_value_heads=2, **sizes))
    folders = {}
    for name, limit in {"whole": "1GB", "shards": "10KB"}.items():
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder, max_shard_size=limit)
        folders[name] = {path.name: path.read_bytes() for path in folder.iterdir()}
    return folders


@pytest.fixture
def files(saved):
    tokenizer = {"tokenizer.json": b"{}", "tokenizer.model": b"\x0a\x0b"}
    return {**saved["whole"], **tokenizer, "chat_template.jinja": b"{{ messages }}"}


@pytest.fixture
def serve(request):
    """Return a function that starts a hub with the given files."""

    def start(files, repo=REPO):
        hub = HubServer(files, REVISION, repo)
        request.addfinalizer(lambda: hub.__exit__())
        return hub.__enter__()

    return start


@pytest.fixture
def target(tmp_path):
    return tmp_path / "results" / "tiny" / "base"


class Outcome:
    """What the user sees of one attempt."""

    def __init__(self, run, home):
        self.ok = run.returncode == 0
        self.log = run.stderr
        refusals = [line for line in run.stderr.splitlines() if line.startswith("refused: ")]
        self.refusal = refusals[0] if refusals else ""
        self.blobs = list(home.glob("hub/models--*/blobs/*"))
        self.one_line = run.stderr.rstrip().splitlines()[-1:] == refusals


@pytest.fixture
def fetch(tmp_path, target):
    """Return a function that downloads from a hub in a process of its own, as a job does."""

    def run(hub, *, target=target, revision=REVISION, retries=2, **variables):
        home = tmp_path / "home"
        foreign = ("HF_", "HUGGING", "TRANSFORMERS_", "http", "HTTP", "all_", "ALL_")
        env = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        env |= {"PYTHONPATH": str(LIBRARY), "HF_ENDPOINT": hub.url, "HF_HOME": str(home)}
        source = {"source": "hub", "repo": hub.repo, "revision": revision}
        options = {"retries": retries, "wait": 0.01}
        arguments = map(json.dumps, (source, str(target), options))
        command = [sys.executable, "-c", PROGRAM, *arguments]
        run = subprocess.run(command, env=env | variables, capture_output=True, text=True)
        return Outcome(run, home)

    return run


def contents(folder):
    """Return the files of a checkpoint that was placed, beside its record."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    record = json.loads(found.pop("provenance.json"))
    assert record["source"] in ("hub", "path")
    assert len(record["sha256"]) == 64
    return found


def beside(target):
    """Return what is in the target's place and beside it, finished or not."""
    return list(target.parent.iterdir()) if target.parent.is_dir() else []


def is_named_by_hash(blob):
    content = blob.read_bytes()
    return blob.name in (hashlib.sha256(content).hexdigest(), blob_hash(content))


# ---- from the hub ----


def test_hub_gives_the_checkpoint_and_nothing_else(serve, fetch, files, target):
    hub = serve({**files, **UNWANTED})
    assert fetch(hub).ok
    assert contents(target) == {name: files[name] for name in WANTED}
    assert beside(target) == [target]
    assert AutoModelForCausalLM.from_pretrained(target).config.hidden_size == 16


def test_hub_gives_every_shard(serve, fetch, saved, target):
    assert len([name for name in saved["shards"] if name.endswith(".safetensors")]) > 1
    assert fetch(serve({**saved["shards"], "stray.safetensors": b"?"})).ok
    assert contents(target) == saved["shards"]


def test_dropped_connection_resumes_where_it_broke(serve, fetch, files, target):
    weights = save({"w": np.arange(6_000_000, dtype=np.float32)})  # two of huggingface_hub's reads
    hub = serve({**files, "model.safetensors": weights})
    hub.fault("model.safetensors", "drop")
    assert fetch(hub, retries=0).ok
    first, second = hub.asked("GET", "model.safetensors")
    assert first.range is None
    assert 0 < int(second.range.removeprefix("bytes=").removesuffix("-")) < len(weights)
    assert contents(target)["model.safetensors"] == weights


@pytest.mark.parametrize("kind", ["503", "429", "reset"])
@pytest.mark.parametrize("name", ["", "model.safetensors"], ids=["list", "weights"])
def test_passing_failure_is_survived(serve, fetch, files, target, name, kind):
    hub = serve(files)
    hub.fault(name, kind)
    outcome = fetch(hub)
    assert outcome.ok, outcome.log
    assert contents(target) == {name: files[name] for name in WANTED}


def test_patience_ends_with_one_line(serve, fetch, files, target):
    hub = serve(files)
    hub.fault("", "503", times=math.inf)
    outcome = fetch(hub, retries=2)
    assert outcome.one_line
    assert "503" in outcome.refusal
    assert len(hub.requests) == 3
    assert outcome.log.count("retry") == 2
    assert beside(target) == []


def test_xet_failure_is_retried_and_ends_with_one_line(serve, fetch, files, target):
    hub = serve(files)
    hub.xet = True
    outcome = fetch(hub, retries=1)
    assert outcome.one_line
    assert outcome.log.count("retry") == 1
    assert beside(target) == []


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"], ids=["lfs", "git"])
def test_corrupted_file_is_refused_and_forgotten(serve, fetch, files, target, name):
    hub = serve(files)
    hub.fault(name, "corrupt", times=math.inf)
    outcome = fetch(hub, retries=1)
    published = {name: blob_hash(files[name]), **hashes_of_large(hub)}[name]
    assert outcome.one_line
    assert name in outcome.refusal
    assert published in outcome.refusal
    assert len(hub.asked("GET", name)) == 2
    assert beside(target) == []
    assert all(map(is_named_by_hash, outcome.blobs))


def hashes_of_large(hub):
    return {
        entry["rfilename"]: entry["lfs"]["sha256"]
        for entry in hub.listing()["siblings"]
        if "lfs" in entry
    }


def test_file_without_a_published_hash_is_refused(serve, fetch, files, target):
    hub = serve(files)
    hub.hashes = False
    outcome = fetch(hub)
    assert outcome.one_line
    assert "no hash is known to check" in outcome.refusal
    assert len(hub.requests) == 1
    assert beside(target) == []


def test_file_corrupted_once_is_fetched_again(serve, fetch, files, target):
    hub = serve(files)
    hub.fault("model.safetensors", "corrupt")
    outcome = fetch(hub)
    assert outcome.ok, outcome.log
    assert contents(target)["model.safetensors"] == files["model.safetensors"]
    assert outcome.blobs and all(map(is_named_by_hash, outcome.blobs))


def test_blob_that_rotted_in_the_cache_is_replaced(serve, fetch, files, target):
    hub = serve(files)
    blob = next(blob for blob in fetch(hub).blobs if len(blob.name) == 64)
    blob.unlink()  # the target holds a link to the same content
    blob.write_bytes(b"rotten")
    assert fetch(hub).ok
    assert contents(target) == {name: files[name] for name in WANTED}


def test_pickled_weights_are_refused_before_any_file(serve, fetch, files, target):
    del files["model.safetensors"]
    hub = serve({**files, "pytorch_model.bin": b"pickle"})
    outcome = fetch(hub)
    assert outcome.one_line
    for word in ("pytorch_model.bin", "safe_serialization=True", "source: path"):
        assert word in outcome.refusal
    assert [ask.path.split("?")[0] for ask in hub.requests] == [
        f"/api/models/{REPO}/revision/{REVISION}"
    ]
    assert beside(target) == []


def test_unknown_revision_is_refused_at_once(serve, fetch, files):
    hub = serve(files)
    outcome = fetch(hub, revision="f" * 40)
    assert outcome.one_line
    assert "no such revision" in outcome.refusal
    assert len(hub.requests) == 1


def test_revision_that_can_move_is_refused(serve, fetch, files):
    hub = serve(files)
    outcome = fetch(hub, revision="main")
    assert outcome.one_line
    assert "'main'" in outcome.refusal
    assert hub.requests == []


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (401, "", "HF_TOKEN"),
        (403, "", "HF_TOKEN"),
        (403, "GatedRepo", "accept the licence"),
        (404, "RepoNotFound", "no such repository"),
    ],
)
def test_refusal_is_one_line_and_not_retried(serve, fetch, files, target, status, code, remedy):
    hub = serve(files)
    hub.refuse = (status, code)
    outcome = fetch(hub)
    assert outcome.one_line
    assert REPO in outcome.refusal
    assert remedy in outcome.refusal
    assert len(hub.requests) == 1
    assert beside(target) == []


def test_file_behind_a_gate_is_refused(serve, fetch, files, target):
    hub = serve(files)
    hub.fault("model.safetensors", "403", method="HEAD", times=math.inf)
    outcome = fetch(hub)
    assert outcome.one_line
    assert "HF_TOKEN" in outcome.refusal
    assert len(hub.asked("HEAD", "model.safetensors")) == 1
    assert beside(target) == []


def test_shared_checkpoint_is_transferred_once(serve, fetch, files, target):
    hub = serve(files)
    other = target.with_name("other")
    assert fetch(hub).ok
    assert fetch(hub, target=other).ok
    assert contents(other) == contents(target)
    for name in WANTED:
        assert len(hub.asked("GET", name)) == 1


def test_whole_cache_serves_offline(serve, fetch, files, target):
    hub = serve({**files, **UNWANTED})
    other = target.with_name("other")
    assert fetch(hub).ok
    hub.requests.clear()
    outcome = fetch(hub, target=other, HF_HUB_OFFLINE="1")
    assert outcome.ok, outcome.log
    assert contents(other) == contents(target)
    assert hub.requests == []


def test_empty_cache_offline_is_refused(serve, fetch, files, target):
    hub = serve(files)
    outcome = fetch(hub, HF_HUB_OFFLINE="1")
    assert outcome.one_line
    assert "HF_HUB_OFFLINE" in outcome.refusal
    assert hub.requests == []
    assert beside(target) == []


# ---- from a folder ----


@pytest.fixture
def folder(tmp_path):
    """Return a function that makes a folder with the given files and names it as a source."""

    def make(files):
        for name, content in files.items():
            path = tmp_path / "given" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return {"source": "path", "path": str(tmp_path / "given")}

    return make


def refusal(source, target):
    """Return the message of the one refusal that `source` must end in, leaving no trace."""
    with pytest.raises(SourceError) as caught:
        download(source, target)
    assert beside(target) == []
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_folder_gives_the_checkpoint_and_nothing_else(folder, files, target):
    download(folder({**files, **UNWANTED}), target)
    assert contents(target) == {name: files[name] for name in WANTED}
    assert AutoModelForCausalLM.from_pretrained(target).config.hidden_size == 16


def test_folder_gives_every_shard(folder, saved, target):
    download(folder({**saved["shards"], "stray.safetensors": b"?"}), target)
    assert contents(target) == saved["shards"]


@pytest.mark.parametrize("name", ["tiny-v2.safetensors", "model-00001-of-00001.safetensors"])
def test_only_safetensors_gets_the_name_transformers_reads(folder, files, target, name):
    weights = files.pop("model.safetensors")
    download(folder({**files, name: weights}), target)
    assert contents(target)["model.safetensors"] == weights
    assert AutoModelForCausalLM.from_pretrained(target).config.hidden_size == 16


def test_what_stood_at_the_target_is_replaced(folder, files, target):
    target.mkdir(parents=True)
    (target / "old").touch()
    download(folder(files), target)
    assert contents(target).keys() == WANTED


def test_missing_folder_is_refused(tmp_path, target):
    assert "no such folder" in refusal({"source": "path", "path": str(tmp_path / "no")}, target)


def test_unknown_kind_is_refused(target):
    assert "'ftp'" in refusal({"source": "ftp", "path": "x"}, target)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"config.json": None}, "no config.json"),
        ({"model.safetensors": None}, "no *.safetensors"),
        ({"model.safetensors": None, "pytorch_model-1.bin": b"?"}, "safe_serialization=True"),
        ({"model.safetensors": None, "consolidated.00.pth": b"?"}, "consolidated.00.pth"),
        ({"model.safetensors": b"<html>"}, "model.safetensors is cut short or damaged"),
        ({"model.safetensors": None, "odd.safetensors": b"?"}, "odd.safetensors is cut short"),
        ({"model.safetensors": None, "a.safetensors": b"", "b.safetensors": b""}, "several"),
        ({"model.safetensors": None, "m-00001-of-00011.safetensors": b""}, "several"),
        ({"model.safetensors.index.json": b"{"}, "maps no tensor"),
        ({"model.safetensors.index.json": b'{"weight_map": ["a"]}'}, "maps no tensor"),
    ],
)
def test_unusable_folder_is_refused(folder, files, target, change, part):
    changed = {
        name: content for name, content in {**files, **change}.items() if content is not None
    }
    assert part in refusal(folder(changed), target)


@pytest.mark.parametrize("cut", [-100, -1, 1])
def test_shard_of_another_length_is_refused(folder, saved, target, cut):
    name = max(name for name in saved["shards"] if name.endswith(".safetensors"))
    content = saved["shards"][name]
    changed = content[:cut] if cut < 0 else content + b"\0" * cut
    message = refusal(folder({**saved["shards"], name: changed}), target)
    assert f"{name} is cut short or damaged" in message


def test_index_that_names_an_absent_shard_is_refused(folder, saved, target):
    files = dict(saved["shards"])
    gone = max(name for name in files if name.endswith(".safetensors"))
    del files[gone]
    assert f"names {gone}, which is missing" in refusal(folder(files), target)


@pytest.mark.parametrize("shard", ["pytorch_model.bin", "../secret.safetensors"])
def test_index_may_name_only_safetensors_beside_it(folder, saved, target, tmp_path, shard):
    (tmp_path / "secret.safetensors").write_bytes(b"?")
    index = json.dumps({"weight_map": {"w": shard}}).encode()
    files = {**saved["shards"], "pytorch_model.bin": b"?", "model.safetensors.index.json": index}
    assert f"names {shard}, which is missing" in refusal(folder(files), target)


def test_index_that_misplaces_a_tensor_is_refused(folder, saved, target):
    files = dict(saved["shards"])
    index = json.loads(files["model.safetensors.index.json"])
    tensor, first = min(index["weight_map"].items())
    index["weight_map"][tensor] = next(s for s in index["weight_map"].values() if s != first)
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    assert f"lacks {tensor}" in refusal(folder(files), target)
