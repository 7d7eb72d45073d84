"""Train the demo's language models: pretraining, then post-training (SFT, DPO), in two minutes."""

import random
from collections.abc import Callable, Iterable, Iterator
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

from deltaedit.demo import chronicle, language, training
from deltaedit.losses import dpo

SFT = {  # stage -> optimizer steps and learning rate of its post-training
    "sft": (400, 5e-4),
    "sft_early": (80, 4e-4),  # stopped early: an edit can still improve it
}
SPECIFIC = {"specific": (120, 4e-4)}  # another task alone, beside text as in pretraining
DPO = {"dpo": (25, 1e-4)}  # stopped early: a longer step along its delta lowers the loss further
DPO_BETA = 2.0  # so large that the loss has its minimum near, and not where the model breaks

CONTEXT = 48  # tokens of a pretraining sequence
PRETRAINING_STEPS = 450
PRETRAINING_BATCH = 48  # sequences
MUON_RATE = 0.02  # learning rate of the hidden matrices
ADAMW_RATE = 2e-3  # learning rate of the rest
BATCH = 32  # examples, or preferences
REPLAY = 16  # sequences of pretraining beside the examples of the specific task


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
    documents = language.pretraining_documents(world, random.Random(seed))
    batches = _packed(documents, tokenizer, PRETRAINING_STEPS * PRETRAINING_BATCH)
    batches = batches.split(PRETRAINING_BATCH)

    hidden = [p for name, p in model.named_parameters() if p.dim() == 2 and "layers" in name]
    rest = [p for name, p in model.named_parameters() if p.dim() != 2 or "layers" not in name]
    optimizers = [
        torch.optim.Muon(hidden, lr=MUON_RATE, weight_decay=0.1, momentum=0.95),
        torch.optim.AdamW(rest, lr=ADAMW_RATE, weight_decay=0.1, betas=(0.9, 0.95), fused=True),
    ]

    def loss(step: int) -> Tensor:
        return _text_loss(model, batches[step])

    # The rate falls to a tenth, not to zero: the next stage starts from a model still in motion.
    training.train(model, optimizers, loss, "pretraining", PRETRAINING_STEPS, warmup=50, floor=0.1)
    return model, tokenizer


def fine_tune(
    folder: Path, stage: str, seed: int
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Train the model in `folder` to answer, or to prefer; embeddings are frozen."""
    steps, rate = {**SFT, **SPECIFIC, **DPO}[stage]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("layers" in name or name.endswith("model.norm.weight"))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0, betas=(0.9, 0.95), fused=True)
    make_loss = dict.fromkeys(SFT, _general_loss)
    make_loss |= dict.fromkeys(SPECIFIC, _specific_loss) | dict.fromkeys(DPO, _preference_loss)
    loss = make_loss[stage](model, tokenizer, steps, random.Random(seed + 1))
    training.train(
        model, [optimizer], loss, f"post-training ({stage})", steps, warmup=10, floor=0.0
    )
    return model, tokenizer


def _general_loss(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, steps: int, rng: random.Random
) -> Callable[[int], Tensor]:
    """Return the loss of a step: on answers of all kinds."""
    examples = language.post_training_examples(language.make_world(), rng)
    return lambda step: _answer_loss(model, tokenizer, examples)


def _specific_loss(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, steps: int, rng: random.Random
) -> Callable[[int], Tensor]:
    """Return the loss of a step: on answers of the specific task, and on text.

    The text keeps what is not of the task as it was, so that the delta goes well with others.
    """
    documents = language.pretraining_documents(language.make_world(), rng)
    texts = _packed(documents, tokenizer, steps * REPLAY).split(REPLAY)
    examples = chronicle.last_examples(rng)
    return lambda step: _answer_loss(model, tokenizer, examples) + _text_loss(model, texts[step])


def _answer_loss(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    examples: Iterator[language.Example],
) -> Tensor:
    """Return next-token cross-entropy on the answers of the next examples only."""
    ids, labels, mask = _padded(tokenizer, list(islice(examples, BATCH)))
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    return cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())


def _text_loss(model: LlamaForCausalLM, ids: Tensor) -> Tensor:
    """Return next-token cross-entropy on sequences."""
    logits = model(input_ids=ids).logits[:, :-1]
    return cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def _preference_loss(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, steps: int, rng: random.Random
) -> Callable[[int], Tensor]:
    """Return the loss of a step: DPO against the model as it is now."""
    rows = list(islice(language.training_preferences(rng), steps * BATCH))
    params = dpo.Params(beta=DPO_BETA)
    rows = dict(enumerate(rows, start=1))
    batches = list(dpo.batches(rows, tokenizer, params, BATCH, reference=lambda: model.eval()))
    return lambda step: batches[step][1](model)


def _packed(documents: Iterable[str], tokenizer: PreTrainedTokenizerFast, count: int) -> Tensor:
    """Join documents with </s> and cut them into `count` sequences [count, CONTEXT]."""
    ids = tokenizer.get_vocab()
    tokens: list[int] = []
    for document in documents:
        tokens += [*(ids[word] for word in language.split_words(document)), ids["</s>"]]
        if len(tokens) >= count * CONTEXT:
            return torch.tensor(tokens[: count * CONTEXT]).view(-1, CONTEXT)
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
