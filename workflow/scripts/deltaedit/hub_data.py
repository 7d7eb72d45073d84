"""Fetch a split of a dataset from the Hugging Face Hub as JSON lines."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset_builder
from datasets.exceptions import DatasetsError
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import OfflineModeIsEnabled
from pyarrow import ArrowException

from deltaedit import registry
from deltaedit.files import whole_file
from deltaedit.hub import Commit, SourceError


def download(
    source: Mapping[str, Any], target: Path, *, retries: int = 5, wait: float = 2.0
) -> None:
    """Write the rows of the split that `source` names to `target`, in their order, one per line.

    Args:
        source: `repo`, `revision` and `split`; `name`, the dataset's configuration, if it has
            several; `fields`, our key -> the dataset's column, unless all columns are wanted as
            they are.
        target: file of JSON lines to make, whole or not at all.
        retries: how often a request to the Hub that failed for a passing reason is repeated.
        wait: seconds before the first repetition; it doubles with each further one.

    Raises:
        SourceError: no such repository, revision, configuration, split or column, access refused,
            the Hub out of reach, data that need a script to be read or are no text or numbers.
    """
    commit = Commit(source["repo"], source["revision"], "datasets/", retries, wait)
    if not constants.is_offline_mode():
        _refuse_script(commit, commit.ask(_published))
    rows = commit.ask(_load, source.get("name"), source["split"], commit.where)
    fields = source.get("fields") or {column: column for column in rows.column_names}
    for column in fields.values():
        if column not in rows.column_names:
            wrong = registry.unknown("column", column, rows.column_names)
            raise SourceError(f"{commit.where}: {wrong}; correct the loss's data.fields")
    rows = rows.select_columns(sorted(set(fields.values())))
    with whole_file(target) as partial, partial.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(_line({key: row[fields[key]] for key in fields}, commit.where))


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


def _load(repo: str, revision: str, name: str | None, split: str, where: str) -> Dataset:
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
        advice = "correct the loss's data.name or data.split"
        raise SourceError(f"{where}: {_in_one_line(error)}; {advice}") from error


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _line(row: Mapping[str, Any], where: str) -> str:
    try:
        return json.dumps(row, ensure_ascii=False) + "\n"
    except TypeError as error:
        advice = "name the columns of text or numbers in the loss's data.fields"
        raise SourceError(f"{where}: {error}; {advice}") from None
