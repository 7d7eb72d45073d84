"""Fetch a checkpoint from the Hugging Face Hub or from a folder, and refuse a damaged one.

Each file of the Hub is checked against its published hash, which huggingface_hub does not do.
A killed job starts its unfinished file again, and keeps the finished ones in the user's cache.
A vision tower alone is joined to the other parts of the CLIP that it was trained from.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import OfflineModeIsEnabled
from safetensors import SafetensorError, safe_open

from deltaedit import clip, provenance
from deltaedit.files import INDEX, WEIGHTS, link_or_copy, whole_folder
from deltaedit.hub import Commit, SourceError
from deltaedit.logs import progress

METADATA = (
    *("config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "*.model"),  # *.model is sentencepiece
    *("chat_template.jinja", "chat_template.json", INDEX),
)
SAFE = ("*.safetensors",)
PICKLED = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class _Origin:
    where: str  # begins every message
    names: Collection[str]  # files at its top level
    fetch: Callable[[str], Path]  # name -> a local file with that content
    made: Mapping[str, Any] = field(default_factory=dict)  # how, if a mark there says it


def download(
    source: Mapping[str, Any],
    target: Path,
    *,
    base: Path | None = None,
    key: str = "revision",
    retries: int = 5,
    wait: float = 2.0,
) -> None:
    """Place the checkpoint that `source` names at `target`, whole or not at all.

    Args:
        source: `{source: hub, repo, revision}` or `{source: path, path}`.
        target: folder to make: config, tokenizer and safetensors in Hugging Face layout, and a
            record of source and content hash, nothing else. A single safetensors file becomes
            `model.safetensors`, whatever its name was.
        base: folder of a CLIP whose other parts complete the checkpoint if it is a vision tower.
        key: where the config states the revision.
        retries: how often a request to the Hub that failed for a passing reason is repeated.
        wait: seconds before the first repetition; it doubles with each further one.

    Raises:
        SourceError: nothing usable there, only pickled weights, access refused, the Hub out of
            reach, a file that is not what was published, a shard that is cut short, a
            tower that does not fit `base`.
    """
    if source["source"] == "hub":
        commit = Commit(source["repo"], source["revision"], key=key, retries=retries, wait=wait)
        origin = _hub(commit)
    elif source["source"] == "path":
        origin = _folder(Path(source["path"]).expanduser())
    else:
        raise SourceError(f"source {source['source']!r}: unknown kind; use hub or path")
    _refuse_unusable(origin)
    weight_map = _weight_map(origin) if INDEX in origin.names else {}
    shards = _shards(origin, weight_map)
    # The weights come last, so that a cache that holds them holds the rest.
    files = [*_matching(origin.names, METADATA), *shards]
    with whole_folder(target) as folder:
        for name in progress(files, origin.where):
            link_or_copy(origin.fetch(name), folder / shards.get(name, name))
        for name, place in shards.items():
            stated = {tensor for tensor, shard in weight_map.items() if shard == name}
            _check_shard(folder / place, stated, f"{origin.where}: {name}")
        if base is not None and clip.is_tower(folder):
            clip.complete(folder, base, origin.where)
        provenance.mark(folder, {**source, **origin.made})


def _folder(path: Path) -> _Origin:
    if not path.is_dir():
        raise SourceError(f"path {path}: no such folder; correct it in config.yaml")
    names = [entry.name for entry in path.iterdir() if entry.is_file()]
    made = {"made": provenance.read(path)} if provenance.FILE in names else {}
    return _Origin(f"path {path}", names, lambda name: path / name, made)


def _hub(commit: Commit) -> _Origin:
    digests = commit.ask(_cached if constants.is_offline_mode() else _published)
    return _Origin(commit.where, digests, lambda name: commit.ask(_fetch, name, digests[name]))


def _published(repo: str, revision: str) -> dict[str, str | None]:
    """Ask the Hub for the top-level files: name -> SHA-256, or git blob SHA-1 of a small file."""
    info = HfApi().model_info(
        repo, revision=revision, files_metadata=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
    )
    return {
        file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id
        for file in info.siblings or []
        if "/" not in file.rfilename
    }


def _cached(repo: str, revision: str) -> dict[str, str | None]:
    """Read the same from the cache, where an entry is a link to a blob named by its hash."""
    config = try_to_load_from_cache(repo, "config.json", revision=revision)
    if not isinstance(config, str):
        raise OfflineModeIsEnabled
    return {
        entry.name: entry.readlink().name if entry.is_symlink() else None
        for entry in Path(config).parent.iterdir()
    }


def _fetch(repo: str, revision: str, name: str, digest: str | None) -> Path:
    """Return the cached copy of one file, transferred if need be; drop it if it is damaged."""
    if digest is None:
        raise ValueError(f"no hash is known to check {name} against")
    path = Path(hf_hub_download(repo, name, revision=revision))
    found = _digest(path, like=digest)
    if found != digest:
        _forget(path)
        raise OSError(f"{name} is damaged: expected hash {digest}, found {found}")
    return path


def _digest(path: Path, *, like: str) -> str:
    """Hash a file as `like` was made: SHA-256, or by its length git's SHA-1 of a blob."""
    header = b"blob %d\0" % path.stat().st_size
    with path.open("rb") as file:
        new = hashlib.sha256 if len(like) == 64 else lambda: hashlib.sha1(header)
        return hashlib.file_digest(file, new).hexdigest()


def _forget(entry: Path) -> None:
    """Remove a cache entry with all that it links to, so that the next attempt starts clean."""
    while entry.is_symlink():
        link, entry = entry, entry.parent / entry.readlink()
        link.unlink()
    entry.unlink(missing_ok=True)


def _matching(names: Collection[str], patterns: Collection[str]) -> list[str]:
    return sorted(name for name in names if any(fnmatch(name, pattern) for pattern in patterns))


def _refuse_unusable(origin: _Origin) -> None:
    if not _matching(origin.names, SAFE):
        if pickled := _matching(origin.names, PICKLED):
            raise SourceError(
                f"{origin.where}: only pickled weights ({pickled[0]}), which can run code; convert "
                "them in a place you trust with AutoModel.from_pretrained(...)"
                ".save_pretrained(..., safe_serialization=True), then use source: path"
            )
        raise SourceError(f"{origin.where}: no *.safetensors; name a checkpoint with weights")
    if "config.json" not in origin.names:
        raise SourceError(f"{origin.where}: no config.json; name a whole checkpoint")


def _weight_map(origin: _Origin) -> dict[str, str]:
    """Read the index of a sharded checkpoint: tensor -> shard."""
    text = origin.fetch(INDEX).read_bytes()
    try:
        weight_map = {str(tensor): str(s) for tensor, s in json.loads(text)["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        weight_map = {}
    if not weight_map:
        raise SourceError(f"{origin.where}: {INDEX} maps no tensor to a shard; get a fresh copy")
    return weight_map


def _shards(origin: _Origin, weight_map: Mapping[str, str]) -> dict[str, str]:
    """Return the files that are the checkpoint's weights: name there -> name in the target."""
    there = _matching(origin.names, SAFE)
    if weight_map:
        shards = sorted(set(weight_map.values()))
        if missing := [shard for shard in shards if shard not in there]:
            raise SourceError(
                f"{origin.where}: {INDEX} names {missing[0]}, which is missing; get a fresh copy"
            )
        return {shard: shard for shard in shards}
    if WEIGHTS in there:
        return {WEIGHTS: WEIGHTS}
    if len(there) > 1 or re.search(r"-of-(?!0*1\.)\d+\.", there[0]):
        raise SourceError(f"{origin.where}: several *.safetensors need {INDEX}; add it")
    return {there[0]: WEIGHTS}


def _check_shard(path: Path, stated: Collection[str], where: str) -> None:
    """Refuse a file that its header does not cover exactly, or that lacks a stated tensor."""
    try:
        with safe_open(path, "np") as shard:
            absent = sorted(set(stated) - set(shard.keys()))
    except SafetensorError as error:
        raise SourceError(f"{where} is cut short or damaged ({error}); get a fresh copy") from error
    if absent:
        raise SourceError(f"{where} lacks {absent[0]}, which {INDEX} puts there; get a fresh copy")
