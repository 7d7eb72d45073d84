"""Load models and tokenizers from checkpoints' folders."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.utils import logging

logging.disable_progress_bar()  # the job has its own

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def load_causal_lm(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load a causal language model in `dtype` on the best device, in evaluation mode."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(DEVICE).eval()


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load the tokenizer saved with a checkpoint."""
    return AutoTokenizer.from_pretrained(folder)
