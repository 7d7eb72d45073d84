"""Fetch a split of a dataset from the Hugging Face Hub: as JSON lines, or images as Parquet."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Features, Image, Value, load_dataset_builder
from datasets.exceptions import DatasetsError
from datasets.table import embed_table_storage
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import OfflineModeIsEnabled
from pyarrow import ArrowException
from pyarrow.parquet import ParquetWriter

from deltaedit import registry
from deltaedit.files import whole_file
from deltaedit.hub import Commit, SourceError
from deltaedit.logs import progress

BATCH = 100  # images in memory


def download(
    source: Mapping[str, Any],
    target: Path,
    *,
    key: str = "revision",
    retries: int = 5,
    wait: float = 2.0,
) -> None:
    """Write the rows of the split that `source` names to `target`, in their order, one per line.

    Args:
        source: `repo`, `revision` and `split`; `name`, the dataset's configuration, if it has
            several; `fields`, our key -> the dataset's column, unless all columns are wanted as
            they are.
        target: file of JSON lines to make, whole or not at all.
        key: where the config states the revision.
        retries: how often a request to the Hub that failed for a passing reason is repeated.
        wait: seconds before the first repetition; it doubles with each further one.

    Raises:
        SourceError: no such repository, revision, configuration, split or column, access refused,
            the Hub out of reach, data that need a script to be read or are no text or numbers.
    """
    commit = Commit(source["repo"], source["revision"], "datasets/", key, retries, wait)
    rows = _rows(commit, source, "the loss's data.name or data.split")
    fields = source.get("fields") or {column: column for column in rows.column_names}
    rows = _selected(commit, rows, fields.values(), "correct the loss's data.fields")
    with whole_file(target) as partial, partial.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(_line({key: row[fields[key]] for key in fields}, commit.where))


def download_images(
    source: Mapping[str, Any],
    target: Path,
    *,
    key: str = "revision",
    retries: int = 5,
    wait: float = 2.0,
) -> None:
    """Write the images and labels of the split that `source` names to `target`, in their order.

    Args:
        source: `repo`, `revision` and `split`; `name`, the dataset's configuration, if it has
            several.
        target: Parquet file to make, whole or not at all, with the columns `image`, the files as
            they are, and `label`, a number, in the layout of `datasets`.
        key: where the config states the revision.
        retries: how often a request to the Hub that failed for a passing reason is repeated.
        wait: seconds before the first repetition; it doubles with each further one.

    Raises:
        SourceError: as `download`, or the columns hold no images and labels.
    """
    commit = Commit(source["repo"], source["revision"], "datasets/", key, retries, wait)
    rows = _rows(commit, source, "the split, or repo and name in the task's file")
    advice = "name a dataset with images and labels in the task's file"
    rows = _selected(commit, rows, ("image", "label"), advice)
    _refuse_other_types(commit, rows.features, advice)
    batches = rows.with_format("arrow").iter(BATCH)
    with (
        whole_file(target) as partial,
        ParquetWriter(partial, rows.features.arrow_schema) as writer,
    ):
        for batch in progress(batches, commit.where, total=-(-len(rows) // BATCH)):
            writer.write_table(embed_table_storage(batch))


def _rows(commit: Commit, source: Mapping[str, Any], place: str) -> Dataset:
    """Open the split that `source` names; `place` is where its names can be corrected."""
    if not constants.is_offline_mode():
        _refuse_script(commit, commit.ask(_published))
    return commit.ask(_load, source.get("name"), source["split"], commit.where, place)


def _selected(commit: Commit, rows: Dataset, columns: Iterable[str], advice: str) -> Dataset:
    wanted = sorted(set(columns))
    for column in wanted:
        if column not in rows.column_names:
            wrong = registry.unknown("column", column, rows.column_names)
            raise SourceError(f"{commit.where}: {wrong}; {advice}")
    return rows.select_columns(wanted)


def _refuse_other_types(commit: Commit, features: Features, advice: str) -> None:
    label = features["label"]
    is_number = isinstance(label, Value) and "int" in label.dtype
    for column, right in (
        ("image", isinstance(features["image"], Image)),
        ("label", isinstance(label, ClassLabel) or is_number),
    ):
        if not right:
            found = _in_one_line(features[column])
            raise SourceError(f"{commit.where}: column {column!r} holds {found}; {advice}")


def _published(repo: str, revision: str) -> list[str]:
    """Ask the Hub for the names of all files; raise its refusal, which `datasets` would conceal."""
    info = HfApi().dataset_info(repo, revision=revision, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
    HfApi().auth_check(repo, repo_type="dataset")
    return [file.rfilename for file in info.siblings or []]


def _refuse_script(commit: Commit, names: list[str]) -> None:
    script = f"{commit.repo.split('/')[-1]}.py"
    if script in names:
        raise SourceError(
            f"{commit.where}: its data come from {script}, which can run code; use a commit of"
            f" {commit.page}/tree/refs%2Fconvert%2Fparquet, where the same data are files"
        )


def _load(
    repo: str, revision: str, name: str | None, split: str, where: str, place: str
) -> Dataset:
    try:
        # With this prefix, a folder of that name in the working folder is not taken instead.
        builder = load_dataset_builder(f"hf://datasets/{repo}", name, revision=revision)
        if builder.hash != revision:  # `datasets` fell back on what else its cache has
            raise OfflineModeIsEnabled if constants.is_offline_mode() else ConnectionError
        builder.download_and_prepare()
        return builder.as_dataset(split=split)
    except (DatasetsError, ArrowException) as error:
        reason = _in_one_line(error.__cause__ or error)
        raise SourceError(f"{where}: cannot be read ({reason}); use another dataset") from error
    except ValueError as error:  # its message lists the configurations or the splits
        raise SourceError(f"{where}: {_in_one_line(error)}; correct {place}") from error


def _in_one_line(thing: object) -> str:
    return " ".join(str(thing).split()) or type(thing).__name__


def _line(row: Mapping[str, Any], where: str) -> str:
    try:
        return json.dumps(row, ensure_ascii=False) + "\n"
    except TypeError as error:
        advice = "name the columns of text or numbers in the loss's data.fields"
        raise SourceError(f"{where}: {error}; {advice}") from None
