"""A copy of the project in a folder of its own, run as a user runs it."""

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import yaml

ROOT = Path(__file__).parents[1]
# What the schema fills in where a suite says nothing.
PLAIN = {"backend": "hf", "chat_template": False}
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


def module_at(path: Path) -> ModuleType:
    """Import a file that is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
