"""The papers' experiments at full size plan without a connection, whatever revision is open."""

import shutil

import pytest

from ..project import ROOT

PRESETS = sorted(file.name for file in (ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_plans_offline(fresh, monkeypatch, name):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("HF_HOME", str(fresh.folder / "home"))
    shutil.copytree(ROOT / "configs", fresh.folder / "configs")
    jobs = fresh.planned("--configfile", f"configs/{name}")
    assert jobs["download_checkpoint"]
    assert jobs["build_report"]
