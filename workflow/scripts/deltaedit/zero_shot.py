"""CLIP as a classifier: captions of the classes are the weights, pictures the input."""

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import CLIPModel, PreTrainedTokenizerBase


def head(model: CLIPModel, tokenizer: PreTrainedTokenizerBase, captions: list[list[str]]) -> Tensor:
    """Return the zero-shot head of a task, one row per class.

        h_c = s n(1/T sum_t n(text(caption_ct))),  n(v) = v / |v|

    with s the model's own scale of logits, so that one caption per class gives the logits of
    CLIP's forward pass.

    Args:
        model: with the text tower and the projections that the head is made of.
        tokenizer: the model's own.
        captions: of each class, as many as there are templates.

    Returns:
        [classes, projection], float32, without a gradient.

    Source: Radford et al. 2021, arXiv:2103.00020, section 3.1.4.
    """
    with torch.no_grad():
        means = [normalize(embed_texts(model, tokenizer, same)).mean(0) for same in captions]
        return model.logit_scale.exp() * normalize(torch.stack(means))


def embed_texts(model: CLIPModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> Tensor:
    """Return the projections [n, projection] of texts."""
    encoded = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(model.device)
    return model.get_text_features(**encoded).pooler_output


def logits(model: CLIPModel, pixels: Tensor, head: Tensor) -> Tensor:
    """Return the logits [n, classes] of pictures [n, 3, height, width]; they have a gradient."""
    features = model.get_image_features(pixel_values=pixels).pooler_output
    return normalize(features.to(head.dtype)) @ head.T
