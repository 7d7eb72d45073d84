"""A pair from the hub, through the workflow: used if whole, refused in one line if not there."""

import copy

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
