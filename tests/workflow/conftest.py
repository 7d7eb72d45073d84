"""The workflow run for real: a tiny study, and the default demo."""

import os
import shutil

import pytest

from ..project import ROOT, Project, copy_project, module_at


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, tiny_config) -> Project:
    """The tiny study, run once; tests that change it put it back."""
    project = copy_project(tmp_path_factory.mktemp("tiny"))
    project.configure(tiny_config)
    project.snakemake("--cores", "2")
    return project


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Project:
    """The default study, run once."""
    project = copy_project(tmp_path_factory.mktemp("demo"))
    project.snakemake("--cores", os.environ.get("CORES", "2"))
    return project


@pytest.fixture(scope="session")
def param_delta(tmp_path_factory) -> Project:
    """The demo of ParamDelta, run once."""
    project = copy_project(tmp_path_factory.mktemp("param_delta"))
    shutil.copytree(ROOT / "configs", project.folder / "configs")
    config = ("--configfile", "configs/param-delta-demo.yaml")
    project.snakemake(*config, "--cores", os.environ.get("CORES", "2"))
    return project


@pytest.fixture(scope="session")
def update():
    """What `make readme` runs."""
    return module_at(ROOT / "docs/update_readme.py")


@pytest.fixture(scope="session")
def block():
    """Return a function that gives what stands between the README's markers of a name."""
    text = (ROOT / "README.md").read_text()
    return lambda name: text.split(f"<!-- {name} -->")[1].strip()
