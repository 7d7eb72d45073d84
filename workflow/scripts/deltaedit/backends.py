"""What runs a checkpoint for lm-eval: transformers in this process (hf), or vLLM."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.models.huggingface import HFLM
from transformers import AutoConfig

from deltaedit import models
from deltaedit.errors import UserError


def packages(suite: Mapping[str, Any]) -> list[str]:
    """Return the installed packages whose versions matter to an evaluation.

    Raises:
        UserError: the suite's `backend` is not among them.
    """
    if suite["backend"] == "hf":
        return ["torch", "transformers", "lm_eval"]
    if find_spec("vllm") is None:
        raise UserError(
            "the suite's backend is vllm, which is not installed: pip install vllm==0.30.0, best in"
            " a copy of this environment, as it replaces other packages; or set backend: hf"
        )
    return ["torch", "transformers", "lm_eval", "vllm"]


@contextmanager
def load(folder: Path, suite: Mapping[str, Any], seed: int) -> Iterator[TemplateLM]:
    """Load a checkpoint with its tokenizer into the suite's backend.

    With hf a model larger than a GPU is spread over those that are visible; vLLM takes all of them
    and is ended with the context.

    Args:
        folder: the checkpoint.
        suite: `backend`, `dtype`, `batch_size` and `chat_template` (its text, or false).
        seed: of what vLLM draws.
    """
    if suite["backend"] == "hf":
        yield Transformers(folder, suite)
        return
    with _vllm(folder, suite, seed) as model:
        yield model


class Transformers(HFLM):
    """lm-eval's model of a checkpoint, which remembers the batch sizes that it found room for."""

    def __init__(self, folder: Path, suite: Mapping[str, Any]) -> None:
        self.found: list[int] = []
        tokenizer = models.load_tokenizer(folder)
        if suite["chat_template"]:
            tokenizer.chat_template = suite["chat_template"]
        super().__init__(
            pretrained=models.load_causal_lm(folder, getattr(torch, suite["dtype"])),
            tokenizer=tokenizer,
            batch_size=suite["batch_size"],
        )

    def _detect_batch_size(self, *args: Any, **named: Any) -> int:
        self.found.append(super()._detect_batch_size(*args, **named))
        return self.found[-1]


@contextmanager
def _vllm(folder: Path, suite: Mapping[str, Any], seed: int) -> Iterator[TemplateLM]:
    """Load a checkpoint into vLLM, on the GPUs that are visible, and free them at the end."""
    # Else vLLM forks this process, where CUDA does not survive: models asked for its devices.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    from lm_eval.models.vllm_causallms import VLLM  # imports vLLM, which not everybody has

    heads = AutoConfig.from_pretrained(folder).get_text_config().num_attention_heads
    model = VLLM(
        pretrained=str(folder),
        dtype=suite["dtype"],
        batch_size=suite["batch_size"],
        seed=seed,
        tensor_parallel_size=_shares(heads, torch.cuda.device_count()),
    )
    if suite["chat_template"]:
        model.tokenizer.chat_template = model.hf_chat_template = suite["chat_template"]
    try:
        yield model
    finally:
        model.model.llm_engine.engine_core.shutdown()


def _shares(heads: int, gpus: int) -> int:
    """Return how many of the GPUs can share the attention heads evenly: a power of two."""
    share = 1
    while 2 * share <= gpus and heads % (2 * share) == 0:
        share *= 2
    return share
