"""The workflow run for real: a copy of the project, a tiny study, and the default demo."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
JOB = re.compile(r"^(?:local)?rule (\w+):\n(?:    .*\n)*?    output: (.*)$", re.MULTILINE)


@dataclass
class Project:
    """A copy of the project in a folder of its own, whose sources a test may change."""

    folder: Path

    def snakemake(self, *args: str, check: bool = True) -> subprocess.CompletedProcess:
        """Run snakemake as a user does; fail with its output if it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *args],
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        if check and done.returncode:
            raise AssertionError(done.stdout + done.stderr)
        return done

    def planned(self, *args: str) -> dict[str, list[str]]:
        """Return the jobs of a dry run: rule -> outputs."""
        jobs: dict[str, list[str]] = {}
        for rule, output in JOB.findall(self.snakemake("--dry-run", *args).stdout):
            jobs.setdefault(rule, []).append(output)
        return {rule: sorted(outputs) for rule, outputs in jobs.items()}

    def configure(self, config: dict, name: str = "config.yaml") -> None:
        (self.folder / name).write_text(yaml.safe_dump(config, sort_keys=False))


def copy_project(folder: Path) -> Project:
    for name in ("workflow", "envs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "config.yaml", "Makefile"):
        shutil.copy(ROOT / name, folder / name)
    return Project(folder)


@pytest.fixture(scope="session")
def tiny_config(tiny_pair) -> dict:
    """A study of seconds: a random model of 20 thousand weights from a local folder."""
    base, post = tiny_pair()
    return {
        "seed": 0,
        "pairs": {
            "tiny": {
                "kind": "causal_lm",
                "base": {"source": "path", "path": str(base)},
                "post": {"source": "path", "path": str(post)},
            }
        },
        "suites": {
            "demo": {
                "tasks": {
                    "demo_math": {"metric": "exact_match", "filter": "strict"},
                    "demo_truth": {"metric": "acc"},
                },
                "batch_size": 8,
                "limit": 8,
            }
        },
        "losses": {
            "math": {
                "kind": "next_token",
                "data": "workflow/tasks/demo/math.jsonl",
                "count": 8,
                "batch_size": 8,
            }
        },
        "sweeps": {
            "dare": {
                "method": "dare",
                "grid": {"drop_rate": [0.1, 0.5], "rescale": [True, False]},
                "split_by": ["drop_rate"],
            },
            "expo": {"method": "expo", "grid": {"alpha": [0.2]}, "formats": ["checkpoint"]},
        },
        "runs": [
            {"pair": "tiny", "sweeps": ["dare", "expo"], "suites": ["demo"], "losses": ["math"]}
        ],
        "figures": {
            "accuracy": {
                "kind": "accuracy_by_drop_rate",
                "pair": "tiny",
                "sweeps": ["dare"],
                "suite": "demo",
            },
            "terms": {"kind": "loss_terms", "pair": "tiny", "sweeps": ["dare"], "loss": "math"},
        },
    }


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
def make_project(tmp_path_factory):
    """Return a function that copies the project into a folder of its own."""
    return lambda: copy_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def fresh(tmp_path) -> Project:
    """A copy of the project in which nothing has run."""
    return copy_project(tmp_path)


@pytest.fixture(scope="session")
def update():
    """What `make readme` runs."""
    spec = importlib.util.spec_from_file_location("update", ROOT / "docs/update_readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def block():
    """Return a function that gives what stands between the README's markers of a name."""
    text = (ROOT / "README.md").read_text()
    return lambda name: text.split(f"<!-- {name} -->")[1].strip()
