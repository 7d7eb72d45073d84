"""The offline demo: model pairs made from generated data, with nothing to download.

A world is a module of data, such as `language`, and one that trains on it, `train_language`, with
`pretrain(seed)` and `fine_tune(folder, stage, seed)`. Both return a model and its processor, which
is what turns data into the model's inputs: a tokenizer, or one with an image processor.
"""

import importlib
from types import ModuleType


def load(world: str) -> ModuleType:
    """Return the module that trains the models of a world."""
    return importlib.import_module(f"{__name__}.train_{world}")
