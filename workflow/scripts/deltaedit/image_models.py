"""Models that classify pictures: CLIP with a zero-shot head, or a model with a head of its own."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageClassification, CLIPModel

from deltaedit import zero_shot
from deltaedit.errors import UserError
from deltaedit.models import DEVICE

Logits = Callable[[nn.Module, Tensor], Tensor]  # of pictures [n, 3, height, width]: [n, classes]


def load(folder: Path, kind: str, dtype: torch.dtype) -> nn.Module:
    """Load the image side of a model in `dtype` on the best device, in evaluation mode.

    Args:
        folder: the checkpoint's.
        kind: of the pair; of "clip" the text side is left out, the head has what it says.
        dtype: of the weights.
    """
    if kind == "image_classifier":
        model = AutoModelForImageClassification.from_pretrained(folder, dtype=dtype)
    else:
        model = CLIPModel.from_pretrained(folder, dtype=dtype)
        del model.text_model, model.text_projection, model.logit_scale
    return model.to(DEVICE).eval()


def logits(folder: Path, kind: str, head: str | Path | None, classes: int) -> Logits:
    """Return how a checkpoint's model, or a variant of it, tells the classes of a task.

    Args:
        folder: the checkpoint's.
        kind: of the pair.
        head: the file of CLIP's zero-shot head, None for a model with a head of its own.
        classes: how many the task has.

    Raises:
        UserError: the head is for another number of classes.
    """
    if head is not None:
        weights = load_file(head)["head"].to(DEVICE)
        return partial(_by_head, head=weights)
    count = AutoConfig.from_pretrained(folder).num_labels
    if count != classes:
        raise UserError(
            f"{folder}: the model's head tells {count} classes, the task has {classes}; give the"
            " pair a task of its own classes"
        )
    return _own


def _by_head(model: nn.Module, pixels: Tensor, *, head: Tensor) -> Tensor:
    return zero_shot.logits(model, pixels, head.to(pixels.dtype))


def _own(model: nn.Module, pixels: Tensor) -> Tensor:
    return model(pixel_values=pixels).logits
