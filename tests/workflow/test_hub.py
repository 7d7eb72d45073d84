"""Models and data from the hub, through the workflow: used if whole, refused in one line if not."""

import copy
import json

import pytest

from ..unit.hub_server import HubServer

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tiny_pair, tmp_path, monkeypatch):
    base, _ = tiny_pair()
    files = {file.name: file.read_bytes() for file in base.iterdir()}
    with HubServer(files, REVISION, "lab/tiny") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        yield server


def test_a_pair_from_the_hub(fresh, tiny_config, hub):
    config = copy.deepcopy(tiny_config)
    config["pairs"]["tiny"]["base"] = {"source": "hub", "repo": "lab/tiny", "revision": REVISION}
    fresh.configure(config)
    place = fresh.folder / "resources/models/tiny/base"
    hub.fault("model.safetensors", "503")
    fresh.snakemake("--cores", "1", str(place.relative_to(fresh.folder)))
    assert (place / "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    assert REVISION in (place / "provenance.json").read_text()


def test_a_revision_that_is_not_there_ends_with_one_line(fresh, tiny_config, hub):
    config = copy.deepcopy(tiny_config)
    config["pairs"]["tiny"]["base"] = {"source": "hub", "repo": "lab/tiny", "revision": "f" * 40}
    fresh.configure(config)
    done = fresh.snakemake("--cores", "1", "resources/models/tiny/base", check=False)
    assert done.returncode == 1
    assert "error: hub lab/tiny@ffffffff: no such revision" in done.stderr
    assert not (fresh.folder / "resources/models/tiny/base").exists()


def test_data_of_a_loss_from_the_hub(fresh, tiny_config, tmp_path, monkeypatch):
    data = {"repo": "lab/sums", "revision": REVISION, "split": "test"}
    data["fields"] = {"prompt": "question", "answer": "answer"}
    config = copy.deepcopy(tiny_config)
    config["losses"]["math"] |= {"data": data, "count": 2}
    fresh.configure(config)
    rows = [{"question": f"tom has {n} pens .", "answer": str(n), "level": n} for n in range(3)]
    files = {"test.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode()}
    with HubServer(files, REVISION, "lab/sums", "datasets") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        fresh.snakemake("--cores", "1", "results/tiny/gradient/math")
    first = (fresh.folder / "resources/data/math.jsonl").read_text().splitlines()[0]
    assert json.loads(first) == {"prompt": "tom has 0 pens .", "answer": "0"}
    record = json.loads((fresh.folder / "results/tiny/gradient/math/loss.json").read_text())
    assert record["provenance"]["loss"]["data"] == data
