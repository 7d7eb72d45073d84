"""What the demo's worlds share in training: tokenizers of whole words, and the loop."""

import math
from collections.abc import Callable

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from deltaedit import logs


def word_tokenizer(words: list[str], **options: object) -> PreTrainedTokenizerFast:
    """Make a tokenizer with one token per word, its place in `words`; a line break is a word."""
    ids = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(" +"), "removed"),
            pre_tokenizers.Split(Regex("\n"), "isolated"),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        **options,
    )


def train(
    model: torch.nn.Module,
    optimizers: list[torch.optim.Optimizer],
    loss: Callable[[int], Tensor],
    label: str,
    steps: int,
    *,
    warmup: int,
    floor: float,
) -> None:
    """Take `steps` optimizer steps on `loss(step)`; the rate rises, then falls as a cosine."""
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    trained = [p for p in model.parameters() if p.requires_grad]
    model.train()
    for step in logs.progress(range(steps), f"demo {label}"):
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        rate = min(1, (step + 1) / warmup) * (floor + (1 - floor) * cosine)
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            for group, lr in zip(optimizer.param_groups, peak, strict=True):
                group["lr"] = lr * rate
        value = loss(step)
        model.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        if (step + 1) % 100 == 0:
            print(f"{label}: step {step + 1}, loss {value.item():.3f} nats")
    model.eval()
