"""What a checked config asks for of images: where they come from, and what is made of them."""

from collections.abc import Mapping
from typing import Any

from deltaedit import image_tasks, registry

Config = Mapping[str, Any]

UNPINNED = "unpinned"  # stands in a path for a revision that the config leaves open


def base_of_tower(config: Config, pair: str, end: str) -> list[str]:
    """Return the base that completes a post which may hold the vision tower of a CLIP alone."""
    if config["pairs"][pair]["kind"] == "clip" and end == "post":
        return [f"resources/models/{pair}/base"]
    return []


def images(task: str, split: str, revision: str | None) -> str:
    """Return the file with the images of a task's split: from the hub, or the demo's own.

    Raises:
        ValueError: unknown task, a split that it lacks, a revision of images that are made here.
    """
    spec = image_tasks.load(task)
    if spec.repo:
        return f"resources/images/{task}@{revision or UNPINNED}/{split}.parquet"
    if split not in spec.files:
        raise ValueError(registry.unknown(f"split of {task}", split, spec.files))
    if revision:
        raise ValueError(f"{task} is made here and has no revision")
    return spec.files[split]


def images_of(config: Config, task: str, split: str) -> str:
    """Return `images` at the revision that the config states for a split.

    Raises:
        ValueError: as `images`, or the config states two.
    """
    stated = {key: spec["revision"] for key, spec in _asked(config, task, split).items()}
    if len(set(stated.values())) > 1:
        raise ValueError(f"{' and '.join(stated)} differ in their revision; state one")
    return images(task, split, next(iter(stated.values()), None))


def image_source(task: str, split: str, revision: str) -> dict[str, Any]:
    """Return where the images of a path come from."""
    spec = image_tasks.load(task)
    commit = None if revision == UNPINNED else revision
    return {"repo": spec.repo, "name": spec.name, "split": split, "revision": commit}


def image_key(config: Config, task: str, split: str, revision: str) -> str | None:
    """Return which key of the config is to state the revision of images, if it does not."""
    if revision != UNPINNED:
        return None
    return " and ".join(f"{key}.revision" for key in _asked(config, task, split)) or "revision"


def _asked(config: Config, task: str, split: str) -> dict[str, Mapping[str, Any]]:
    """Return the places of the config that ask for a split of a task, with what stands there."""
    suites = config["suites"].items() if split == image_tasks.load(task).split else ()
    return {
        **{
            f"suites.{name}.tasks.{task}": suite["tasks"][task]
            for name, suite in suites
            if task in suite["tasks"]
        },
        **{
            f"losses.{name}.data": loss["data"]
            for name, loss in config["losses"].items()
            if asks_images(loss) and (loss["data"]["task"], loss["data"]["split"]) == (task, split)
        },
    }


def splits(config: Config) -> list[tuple[str, str]]:
    """Return every image task with the splits that a config asks for."""
    of_losses = [
        (loss["data"]["task"], loss["data"]["split"])
        for loss in config["losses"].values()
        if asks_images(loss)
    ]
    names = {task for suite in config["suites"].values() for task in suite["tasks"]}
    of_suites = [(task, image_tasks.load(task).split) for task in image_tasks.names()]
    return [*of_losses, *(each for each in of_suites if each[0] in names)]


def asks_images(loss: Mapping[str, Any]) -> bool:
    """Whether the data of a loss are images of a task."""
    return not isinstance(loss["data"], str) and "task" in loss["data"]


def prepared(pair: str, task: str, split: str | None = None) -> str:
    """Return the folder of a task's images as a pair's models take them; by default to test on."""
    return f"results/{pair}/images/{task}/{split or image_tasks.load(task).split}"


def heads(config: Config, pair: str, names: list[str]) -> list[str]:
    """Return the files of the zero-shot heads of tasks; none if a pair's models have their own."""
    is_clip = config["pairs"][pair]["kind"] == "clip"
    return [f"results/{pair}/heads/{task}.safetensors" for task in names] if is_clip else []
