"""The model and the loss that a job works with, by the kind of its pair."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deltaedit import digest, image_models, image_tasks, losses, models
from deltaedit.images import Pictures
from deltaedit.loss_change import Loss


def load(
    kind: str, spec: Mapping[str, Any], base: str, post: str, data: str, head: str | None = None
) -> tuple[nn.Module, Loss]:
    """Load the post-trained model of a pair in float32, and build a loss for it.

    Args:
        kind: of the pair.
        spec: of the loss, as in the config.
        base: the folder of the pair's base, which a loss may compare with.
        post: the folder of the pair's post.
        data: a file of JSON lines, or the folder of prepared pictures.
        head: the file of a zero-shot head, for CLIP.
    """
    if kind in image_tasks.KINDS:
        classes = len(image_tasks.load(spec["data"]["task"]).classnames)
        logits = image_models.logits(Path(post), kind, head, classes)
        loss = losses.build_of_images(spec, Pictures(data), logits)
        model = models.prepared(image_models.load(Path(post), kind, torch.float32), spec)
    else:
        # Before the model is loaded: a reference has left memory by then.
        reference = partial(models.load_for_loss, Path(base), spec)
        loss = losses.build(spec, data, models.load_tokenizer(Path(post)), reference)
        model = models.load_for_loss(Path(post), spec)
    return model, loss


def content(data: str, head: str | None = None) -> str:
    """Return a digest of what `load` reads beside the checkpoints."""
    texts_or_images = Pictures.identity(Path(data)) if Path(data).is_dir() else [Path(data)]
    return digest.of_files([*texts_or_images, *([Path(head)] if head else [])])
