"""Image classification tasks: where the pictures are, and what CLIP is told of the classes."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from deltaedit import registry
from deltaedit.tasks import SHIPPED

KINDS = ("clip", "image_classifier")  # of the pairs that these tasks are for
METRIC = "acc"  # what is reported, and the only thing
FOLDER = SHIPPED / "clip"  # each task in {name}.json; README.md there says where they come from


@dataclass(frozen=True, kw_only=True)
class ImageTask:
    """A data set with the columns `image` and `label`, and the words for its labels.

    The data set is `repo` (and its configuration `name`) of the hub, or else `files` of this
    project, Parquet in the layout of `datasets`; `split` is the one to evaluate on.
    """

    classnames: list[str]  # in the order of the labels
    templates: list[str]  # captions; {c} stands for a class's name
    split: str = "test"
    repo: str | None = None
    name: str | None = None
    files: dict[str, str] = field(default_factory=dict)  # split -> a path in the working folder

    def captions(self) -> list[list[str]]:
        """Return, for each class, its name in every template."""
        return [
            [template.replace("{c}", c) for template in self.templates] for c in self.classnames
        ]


def names() -> list[str]:
    """List the tasks."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def file(name: str) -> Path:
    """Return the file of a task; ValueError with the known names if there is none."""
    if name not in names():
        raise ValueError(registry.unknown("image task", name, names()))
    return FOLDER / f"{name}.json"


def load(name: str) -> ImageTask:
    """Read a task."""
    return ImageTask(**json.loads(file(name).read_text(encoding="utf-8")))
