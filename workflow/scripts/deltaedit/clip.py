"""Complete a CLIP's vision tower, all that some fine-tunes publish, with the base's other parts."""

import json
import shutil
from pathlib import Path

from deltaedit.checkpoints import DTYPES, Checkpoint, TensorInfo, copy_rest, write_tensors
from deltaedit.hub import SourceError

PREFIX = "vision_model."  # of the tower's tensors in a whole CLIP
INDICES = ".position_ids"  # 0, 1, 2, ...; transformers before 4.31 stored them


def is_tower(folder: Path) -> bool:
    """Whether a checkpoint's config says that it is a CLIP's vision tower alone."""
    return _model_type(folder) == "clip_vision_model"


def complete(folder: Path, base: Path, where: str) -> None:
    """Turn a folder with a vision tower, in place, into a whole CLIP like `base`.

    The tower's tensors are those of `folder`; text tower, projections, config, tokenizer and
    preprocessor are those of `base`, and so are the tensors' names, order and distribution over
    files. Tensors are read and written one at a time.

    Args:
        folder: the tower; its tensors' names begin with `vision_model.` or, as transformers 5
            writes them, lack that.
        base: the CLIP it was trained from.
        where: begins every message.

    Raises:
        SourceError: `base` is no whole CLIP, or its tower has other tensors, shapes or dtypes.
    """
    if _model_type(base) != "clip":
        raise SourceError(f"{where}: a vision tower, but {base} is no CLIP to join it to")
    alone = folder / "tower"
    alone.mkdir()
    for file in folder.iterdir():
        if file != alone:
            file.rename(alone / file.name)
    _write(Checkpoint(alone), Checkpoint(base), folder, where)
    shutil.rmtree(alone)


def _write(tower: Checkpoint, base: Checkpoint, folder: Path, where: str) -> None:
    prefix = "" if any(name.startswith(PREFIX) for name in tower.tensors) else PREFIX
    names = {prefix + name: name for name in tower.tensors if not name.endswith(INDICES)}
    found = {name: tower.tensors[own] for name, own in names.items()}
    _refuse_misfit(found, base, where)
    copy_rest(base.folder, folder)
    write_tensors(
        folder,
        base.layout(),
        lambda name: tower.tensor(names[name]) if name in names else base.tensor(name),
        metadata={},
    )


def _refuse_misfit(found: dict[str, TensorInfo], base: Checkpoint, where: str) -> None:
    wanted = {
        name: info
        for name, info in base.tensors.items()
        if name.startswith(PREFIX) and not name.endswith(INDICES)
    }
    wrong = sorted(
        name
        for name in wanted.keys() | found.keys()
        if _form(wanted.get(name)) != _form(found.get(name))
    )
    if wrong:
        first = wrong[0]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise SourceError(
            f"{where}: its vision tower does not fit {base.folder}: {first!r} is"
            f" {_form(found.get(first))}, in base {_form(wanted.get(first))}{more};"
            " name a tower that was trained from this base, or the base that it was trained from"
        )


def _form(info: TensorInfo | None) -> str:
    return "missing" if info is None else f"{DTYPES[info.dtype][0]} {list(info.shape)}"


def _model_type(folder: Path) -> str | None:
    try:
        return json.loads((folder / "config.json").read_bytes()).get("model_type")
    except (ValueError, AttributeError):
        raise SourceError(f"{folder / 'config.json'}: no JSON object; get a fresh copy") from None
