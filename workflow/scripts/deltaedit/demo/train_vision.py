"""Train the demo's CLIP models: pretraining on captions, then a task, in about half a minute."""

from itertools import chain
from pathlib import Path

import numpy as np
import torch
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPVisionConfig,
)

from deltaedit import zero_shot
from deltaedit.demo import training, vision

PICTURES = 6000  # of pretraining
WORD_STEPS = 200  # of the text tower alone
WORD_BATCH = 64  # captions
WORD_RATE = 2e-3
PRETRAINING_STEPS = 250
PRETRAINING_BATCH = 64  # pictures
MUON_RATE = 0.02  # learning rate of the hidden matrices
ADAMW_RATE = 1e-3  # learning rate of the rest
STEPS = 200  # on a task
BATCH = 64
RATE = 5e-4


def make_processor() -> CLIPProcessor:
    """Make what turns pictures into pixels in [-1, 1], and captions into one token per word."""
    tokenizer = training.word_tokenizer(vision.vocabulary(), model_max_length=vision.LONGEST)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>",
        special_tokens=[(word, tokenizer.get_vocab()[word]) for word in ("<s>", "</s>")],
    )
    images = CLIPImageProcessorPil(
        size={"shortest_edge": vision.SIZE},
        crop_size={"height": vision.SIZE, "width": vision.SIZE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return CLIPProcessor(images, tokenizer)


def make_model(processor: CLIPProcessor, seed: int) -> CLIPModel:
    """Make an untrained CLIP of half a million parameters."""
    torch.manual_seed(seed)
    tokenizer = processor.tokenizer
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,  # the text's embedding is read here, unless it is 2
        pad_token_id=tokenizer.pad_token_id,
    )
    images = CLIPVisionConfig(
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=vision.SIZE,
        patch_size=8,
    )
    return CLIPModel(
        CLIPConfig(
            text_config=text.to_dict(),
            vision_config=images.to_dict(),
            projection_dim=64,
            logit_scale_init_value=3.4,  # a scale of 30; CLIP starts at 14 and ends at 100
        )
    )


def pretrain(seed: int) -> tuple[CLIPModel, CLIPProcessor]:
    """Train a new model to tell which caption belongs to a picture.

    The text tower learns its words first, then stays as it is while the vision tower learns to
    find a picture's caption among all.
    """
    processor = make_processor()
    model = make_model(processor, seed)
    pictures, captions = vision.captioned(PICTURES, np.random.default_rng(seed))
    distinct = list(dict.fromkeys(captions))
    _learn_words(model, processor, distinct, seed)

    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith("text"))
    with torch.no_grad():
        texts = normalize(zero_shot.embed_texts(model, processor.tokenizer, distinct))
    labels = torch.tensor([distinct.index(caption) for caption in captions])
    pixels = _pixels(processor, pictures)
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    hidden = [p for name, p in trained if p.dim() == 2 and "layers" in name]
    rest = [p for name, p in trained if p.dim() != 2 or "layers" not in name]
    optimizers = [
        torch.optim.Muon(hidden, lr=MUON_RATE, weight_decay=0.05, momentum=0.95),
        torch.optim.AdamW(rest, lr=ADAMW_RATE, weight_decay=0.05, betas=(0.9, 0.98), fused=True),
    ]
    rng = torch.Generator().manual_seed(seed)

    def loss(step: int) -> Tensor:
        chosen = torch.randint(len(pixels), (PRETRAINING_BATCH,), generator=rng)
        head = model.logit_scale.exp() * texts
        return cross_entropy(zero_shot.logits(model, pixels[chosen], head), labels[chosen])

    training.train(model, optimizers, loss, "pretraining", PRETRAINING_STEPS, warmup=50, floor=0.05)
    return model, processor


def fine_tune(folder: Path, stage: str, seed: int) -> tuple[CLIPModel, CLIPProcessor]:
    """Train the model in `folder` on the task `stage`, its zero-shot head as the classifier.

    Only the blocks and norms of the vision tower move: the head, the projections and, as in the
    language world, the embeddings are frozen.
    """
    processor = CLIPProcessor.from_pretrained(folder)
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("vision_model") and "embeddings" not in name)
    head = zero_shot.head(model, processor.tokenizer, vision.TASKS[stage].captions())
    pictures, classes = vision.images(stage, "train")
    pixels, labels = _pixels(processor, pictures), torch.from_numpy(classes)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0, fused=True)
    rng = torch.Generator().manual_seed(seed + 1)

    def loss(step: int) -> Tensor:
        chosen = torch.randint(len(pixels), (BATCH,), generator=rng)
        return cross_entropy(zero_shot.logits(model, pixels[chosen], head), labels[chosen])

    training.train(model, [optimizer], loss, f"fine-tuning ({stage})", STEPS, warmup=10, floor=0.0)
    return model, processor


def _learn_words(
    model: CLIPModel, processor: CLIPProcessor, captions: list[str], seed: int
) -> None:
    """Train the text tower until a linear map reads a caption's words from its embedding.

    It learns from `captions` and from those of the tasks' classes.
    """
    of_tasks = [same for task in vision.TASKS.values() for same in task.captions()]
    captions, tokenizer = [*captions, *chain(*of_tasks)], processor.tokenizer
    readout = torch.nn.Linear(model.config.projection_dim, len(tokenizer))
    words = torch.zeros(len(captions), len(tokenizer))
    for row, caption in zip(words, captions, strict=True):
        row[tokenizer(caption, add_special_tokens=False).input_ids] = 1
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("text"))
    both = torch.nn.ModuleList([model, readout])
    trained = [p for p in both.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=WORD_RATE, fused=True)
    rng = torch.Generator().manual_seed(seed)

    def loss(step: int) -> Tensor:
        chosen = torch.randint(len(captions), (WORD_BATCH,), generator=rng)
        texts = zero_shot.embed_texts(model, tokenizer, [captions[i] for i in chosen])
        # Eight is length enough for the map to be sure of a word.
        return binary_cross_entropy_with_logits(readout(8 * normalize(texts)), words[chosen])

    training.train(both, [optimizer], loss, "learning words", WORD_STEPS, warmup=20, floor=0.0)


def _pixels(processor: CLIPProcessor, pictures: np.ndarray) -> Tensor:
    return processor.image_processor(list(pictures), return_tensors="pt").pixel_values
