"""Parts of a model: the layer and the group that a tensor belongs to, read from its name."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

# The first pattern that a tensor's name contains decides; a norm inside an attention block is a
# norm, as is a vision tower's `pre_layrnorm` (so spelt in the checkpoints).
_PATTERNS = (
    ("norm", re.compile(r"norm|layrnorm|\bln_|\.ln\d?\b|_ln\b")),
    ("head", re.compile(r"lm_head|classifier|score\.|embed_out|projection\.weight$|logit_scale")),
    ("embedding", re.compile(r"embed|\bwte\b|\bwpe\b|shared\.weight|cls_token")),
    ("attention", re.compile(r"attn|attention|\bq_proj|\bk_proj|\bv_proj|\bo_proj")),
    ("feed_forward", re.compile(r"mlp|ffn|feed_forward|\bfc\d|dense|intermediate|experts")),
)
_LAYER = re.compile(r"(?:layers?|h|blocks?)\.(\d+)\.")


class Part(NamedTuple):
    """Where a tensor belongs: `layer` counts from 0, None outside the stack of layers."""

    layer: int | None
    group: str  # embedding, attention, feed_forward, norm, head or other


def part_of(name: str) -> Part:
    """Return the layer and the group of the tensor `name`, whatever the architecture."""
    layer = _LAYER.search(name)
    group = next((group for group, pattern in _PATTERNS if pattern.search(name)), "other")
    return Part(int(layer[1]) if layer else None, group)


Selection = str | Sequence[str]  # "all", "linear", "matrices", or patterns of names


def is_selected(selection: Selection, name: str, shape: Sequence[int]) -> bool:
    """Whether an edit touches the tensor `name`.

    Args:
        selection: "all"; "matrices", those of two axes or more; "linear", the matrices of
            attention and feed-forward blocks; or shell patterns, of which one must match the name.
        name: the tensor's name.
        shape: its shape.
    """
    match selection:
        case "all":
            return True
        case "matrices":
            return len(shape) >= 2
        case "linear":
            return len(shape) >= 2 and part_of(name).group in ("attention", "feed_forward")
    return any(fnmatchcase(name, pattern) for pattern in selection)
