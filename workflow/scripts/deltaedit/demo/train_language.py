"""Train the demo's language models: pretraining, then post-training (SFT, DPO), in two minutes."""

import random
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from deltaedit.demo import language, training
from deltaedit.losses import dpo

SFT = {  # stage -> optimizer steps and learning rate of its post-training
    "sft": (400, 5e-4),
    "sft_early": (80, 4e-4),  # stopped early: an edit can still improve it
}
DPO = {"dpo": (25, 1e-4)}  # stopped early: a longer step along its delta lowers the loss further
DPO_BETA = 2.0  # so large that the loss has its minimum near, and not where the model breaks

CONTEXT = 48  # tokens of a pretraining sequence
PRETRAINING_STEPS = 450
PRETRAINING_BATCH = 48  # sequences
MUON_RATE = 0.02  # learning rate of the hidden matrices
ADAMW_RATE = 2e-3  # learning rate of the rest
BATCH = 32  # examples, or preferences


def make_tokenizer(world: language.World) -> PreTrainedTokenizerFast:
    """Make the tokenizer of the world's words; prompts are padded on the left."""
    return training.word_tokenizer(language.vocabulary(world), padding_side="left")


def make_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Make an untrained Llama of about a million parameters."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def pretrain(seed: int) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Train a new model on running text, next token by next token."""
    world = language.make_world()
    tokenizer = make_tokenizer(world)
    model = make_model(tokenizer, seed)
    batches = _packed(world, tokenizer, random.Random(seed)).split(PRETRAINING_BATCH)

    hidden = [p for name, p in model.named_parameters() if p.dim() == 2 and "layers" in name]
    rest = [p for name, p in model.named_parameters() if p.dim() != 2 or "layers" not in name]
    optimizers = [
        torch.optim.Muon(hidden, lr=MUON_RATE, weight_decay=0.1, momentum=0.95),
        torch.optim.AdamW(rest, lr=ADAMW_RATE, weight_decay=0.1, betas=(0.9, 0.95), fused=True),
    ]

    def loss(step: int) -> Tensor:
        ids = batches[step]
        logits = model(input_ids=ids).logits[:, :-1]
        return cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    # The rate falls to a tenth, not to zero: the next stage starts from a model still in motion.
    training.train(model, optimizers, loss, "pretraining", PRETRAINING_STEPS, warmup=50, floor=0.1)
    return model, tokenizer


def fine_tune(
    folder: Path, stage: str, seed: int
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Train the model in `folder` to answer, or to prefer; embeddings are frozen."""
    steps, rate = {**SFT, **DPO}[stage]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("layers" in name or name.endswith("model.norm.weight"))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0, betas=(0.9, 0.95), fused=True)
    make_loss = _preference_loss if stage in DPO else _answer_loss
    loss = make_loss(model, tokenizer, steps, random.Random(seed + 1))
    training.train(
        model, [optimizer], loss, f"post-training ({stage})", steps, warmup=10, floor=0.0
    )
    return model, tokenizer


def _answer_loss(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, steps: int, rng: random.Random
) -> Callable[[int], Tensor]:
    """Return the loss of a step: next-token cross-entropy, on answers only."""
    examples = language.post_training_examples(language.make_world(), rng)

    def loss(step: int) -> Tensor:
        ids, labels, mask = _padded(tokenizer, list(islice(examples, BATCH)))
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
        return cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())

    return loss


def _preference_loss(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, steps: int, rng: random.Random
) -> Callable[[int], Tensor]:
    """Return the loss of a step: DPO against the model as it is now."""
    rows = list(islice(language.training_preferences(rng), steps * BATCH))
    params = dpo.Params(beta=DPO_BETA)
    rows = dict(enumerate(rows, start=1))
    batches = list(dpo.batches(rows, tokenizer, params, BATCH, reference=lambda: model.eval()))
    return lambda step: batches[step][1](model)


def _packed(
    world: language.World, tokenizer: PreTrainedTokenizerFast, rng: random.Random
) -> Tensor:
    """Draw documents, join them with </s> and cut them into sequences [n, CONTEXT]."""
    count = PRETRAINING_STEPS * PRETRAINING_BATCH * CONTEXT
    ids = tokenizer.get_vocab()
    tokens: list[int] = []
    for document in language.pretraining_documents(world, rng):
        tokens += [*(ids[word] for word in language.split_words(document)), ids["</s>"]]
        if len(tokens) >= count:
            return torch.tensor(tokens[:count]).view(-1, CONTEXT)
    raise AssertionError("the mixture has no end")


def _padded(
    tokenizer: PreTrainedTokenizerFast, examples: list[language.Example]
) -> tuple[Tensor, Tensor, Tensor]:
    """Encode examples as ids, labels (-100 outside the answer) and mask, each [n, longest]."""
    prompts = tokenizer([example.prompt for example in examples]).input_ids
    answers = tokenizer([example.answer for example in examples]).input_ids
    answers = [[*answer, tokenizer.eos_token_id] for answer in answers]
    longest = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
    shape = len(examples), longest
    ids = torch.full(shape, tokenizer.pad_token_id)
    labels, mask = torch.full(shape, -100), torch.zeros(shape, dtype=torch.long)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : end] = torch.tensor(answer)
        mask[row, :end] = 1
    return ids, labels, mask
