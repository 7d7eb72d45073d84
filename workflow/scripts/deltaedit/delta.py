"""The delta of a pair: post minus base, stored exactly, with statistics per tensor."""

from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from deltaedit import logs
from deltaedit.checkpoints import Checkpoint, check_match, write_tensors
from deltaedit.errors import UserError
from deltaedit.parts import part_of

PATCH = "patch.safetensors"
STATISTICS = "statistics.csv"


class Delta(Checkpoint):
    """A stored delta: float32 tensors, and where base + delta rounds away from post, a patch."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__(Path(folder) / "tensors")
        self._patch_file = Path(folder) / PATCH

    @cached_property
    def _patches(self) -> dict[str, Tensor]:
        return load_file(self._patch_file) if self._patch_file.exists() else {}

    def add(self, name: str, base: Tensor, edited: Tensor, delta: Tensor) -> Tensor:
        """Return base + edited delta in the dtype of `base`, computed in float32, rounded once.

        Where the edit leaves the delta as it is, the result is post to the bit; where it makes
        it zero, the result is base to the bit.

        Args:
            name: the tensor's name.
            base: the tensor in the base checkpoint, or in another of the same architecture.
            edited: the edited delta, float32, shape of `base`.
            delta: the delta as stored, float32, shape of `base`.
        """
        out = _sum(base, edited)
        if f"{name}.index" in self._patches:
            index, value = self._patches[f"{name}.index"], self._patches[f"{name}.value"]
            same = edited.flatten()[index] == delta.flatten()[index]
            out.view(-1)[index[same]] = value[same]
        return out


def _sum(base: Tensor, delta: Tensor) -> Tensor:
    """Return base + delta, rounded once to the dtype of `base`; base itself, -0 too, where 0."""
    return torch.where(delta == 0, base, (base.float() + delta).to(base.dtype))


def extract(base: Checkpoint, post: Checkpoint, folder: Path) -> None:
    """Write the delta of a pair to `folder`: tensors, patch and statistics.

        delta = float32(post) - float32(base)

    The difference of two floats is not always a float. Where `base + delta`, rounded to the
    checkpoint's dtype, is not post to the bit, index and value of post are kept in the patch.
    Tensors that are not floating point have no delta.

    Raises:
        UserError: base and post do not match, or hold a number that is not finite.
    """
    check_match(base, post)
    layout = {
        file: floating
        for file, entries in base.layout().items()
        if (floating := [entry for entry in entries if entry[1].dtype.is_floating_point])
    }
    names = [name for entries in layout.values() for name, _ in entries]
    bar = iter(logs.progress(names, "extract delta"))
    rows: list[dict[str, object]] = []
    patches: dict[str, Tensor] = {}

    def make(name: str) -> Tensor:
        before, after = base.tensor(name), post.tensor(name)
        delta = after.float() - before.float()
        if not torch.isfinite(delta).all():
            raise UserError(f"{base.folder}, {post.folder}: {name!r} holds NaN or infinite numbers")
        wrong = (_bits(_sum(before, delta)) != _bits(after)).flatten().nonzero().flatten()
        if len(wrong):
            patches[f"{name}.index"] = wrong
            patches[f"{name}.value"] = after.flatten()[wrong]
        rows.append({"tensor": name, **statistics(name, before, delta), "patched": len(wrong)})
        next(bar)
        return delta

    (folder / "tensors").mkdir()
    metadata = {"content": "float32(post) - float32(base)"}
    write_tensors(folder / "tensors", layout, make, dtype=torch.float32, metadata=metadata)
    if patches:
        save_file(patches, folder / PATCH)
    pd.DataFrame(rows).to_csv(folder / STATISTICS, index=False)


def statistics(name: str, base: Tensor, delta: Tensor) -> dict[str, object]:
    """Describe one tensor's delta: size, norms (L2), magnitudes, and the share of exact zeros."""
    layer, group = part_of(name)
    magnitude = delta.abs()
    size = max(delta.numel(), 1)
    return {
        "layer": layer,
        "group": group,
        "dtype": str(base.dtype).removeprefix("torch."),
        "shape": "x".join(map(str, delta.shape)),
        "size": delta.numel(),
        "norm": _norm(delta),
        "base_norm": _norm(base.float()),
        "mean_magnitude": magnitude.sum(dtype=torch.float64).item() / size,
        "max_magnitude": magnitude.max().item() if delta.numel() else 0.0,
        "zero_share": (delta == 0).sum().item() / size,
    }


def _norm(tensor: Tensor) -> float:
    return tensor.square().sum(dtype=torch.float64).sqrt().item()


def _bits(tensor: Tensor) -> Tensor:
    """View floats as integers, so that -0 and 0 differ."""
    widths = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.contiguous().view(widths[tensor.dtype.itemsize])
