"""Load models and tokenizers from checkpoints' folders."""

from collections.abc import Mapping
from functools import partial, wraps
from pathlib import Path
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import logging

from deltaedit.errors import UserError

logging.disable_progress_bar()  # the job has its own

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def load_causal_lm(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load a causal language model in `dtype`, in evaluation mode.

    On the best device; on a job's several GPUs its layers are spread over them.
    """
    if torch.cuda.device_count() > 1:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, device_map="auto").eval()
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(DEVICE).eval()


def load_for_loss(folder: Path, spec: Mapping[str, Any]) -> PreTrainedModel:
    """Load a causal language model for a loss: float32, and `prepared` as the loss's config says.

    Args:
        folder: the checkpoint's.
        spec: `autocast` and `gradient_checkpointing` as in the config.
    """
    return prepared(load_causal_lm(folder, torch.float32), spec)


def prepared(model: PreTrainedModel, spec: Mapping[str, Any]) -> PreTrainedModel:
    """Change, in place, how a model computes its activations, as a loss's config says.

    With `autocast` its forward pass runs in that type where torch holds it safe; weights and their
    gradients stay float32. With `gradient_checkpointing` the activations within each layer are
    computed again when backward needs them, in evaluation mode too, where transformers' own
    checkpointing does nothing.

    Raises:
        UserError: there is no layer to checkpoint.
    """
    model.config.get_text_config().use_cache = False  # a loss generates nothing
    if spec["gradient_checkpointing"]:
        layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
        if not layers:
            raise UserError(
                f"{type(model).__name__} has no layers that transformers can checkpoint; set the"
                " loss's gradient_checkpointing: false"
            )
        for layer in layers:
            # No dropout, hence no random state to restore.
            options = {"use_reentrant": False, "preserve_rng_state": False}
            layer.forward = partial(checkpoint, layer.forward, **options)
    if spec["autocast"]:
        for name in ("forward", "get_image_features"):  # the latter is how CLIP is used
            if hasattr(model, name):
                setattr(model, name, _autocast(model, name, getattr(torch, spec["autocast"])))
    return model


def _autocast(model: PreTrainedModel, name: str, dtype: torch.dtype) -> Any:
    method = getattr(model, name)

    @wraps(method)
    def cast(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(model.device.type, dtype):
            return method(*args, **kwargs)

    return cast


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load the tokenizer saved with a checkpoint."""
    return AutoTokenizer.from_pretrained(folder)


def chat_template(folder: Path) -> str:
    """Return the chat template of the tokenizer saved with a checkpoint; UserError without one."""
    try:
        return load_tokenizer(folder).get_chat_template()
    except ValueError:
        raise UserError(
            f"{folder}: the tokenizer has no chat template; set the suite's chat_template: false"
        ) from None
