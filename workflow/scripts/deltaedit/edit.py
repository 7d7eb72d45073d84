"""Write edited models: base plus an edited delta, in Hugging Face layout."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from deltaedit import edits, logs
from deltaedit.checkpoints import Checkpoint, copy_rest, generator_for, write_tensors
from deltaedit.delta import Delta


def write_variant(
    base: Checkpoint,
    post: Checkpoint,
    delta: Delta,
    variant: Mapping[str, Any],
    folder: Path,
    provenance: Mapping[str, Any],
) -> None:
    """Write the variant of a pair to `folder`, one tensor at a time.

        W_edit = base + method(delta), in float32, rounded once to the checkpoint's dtype

    Each tensor's randomness is the stream of (seed, tensor name). Tensors without a delta, the
    config and the tokenizer are those of post.

    Args:
        base: the base of the pair.
        post: the post of the pair.
        delta: the pair's stored delta.
        variant: name, method, options and seed.
        folder: an existing, empty folder.
        provenance: what to record in the weights' metadata and in the model card.
    """
    method, params = edits.parse(variant["method"], variant["options"])
    names = iter(logs.progress(post.tensors, f"edit {variant['name']}"))

    def make(name: str) -> Tensor:
        next(names)
        if name not in delta.tensors:
            return post.tensor(name)
        before = delta.tensor(name)
        after = method.apply(before, params, rng=generator_for(variant["seed"], name))
        return delta.add(name, base.tensor(name), after, before)

    record = {
        "method": variant["method"],
        "options": asdict(params),
        "seed": variant["seed"],
        **provenance,
    }
    copy_rest(post.folder, folder)
    write_tensors(folder, post.layout(), make, metadata={"deltaedit": json.dumps(record)})
    (folder / "README.md").write_text(model_card(variant["name"], record))


def model_card(name: str, record: Mapping[str, Any]) -> str:
    """Return the model card of a variant: what it is and how it was made."""
    options = ", ".join(f"{key} = {value}" for key, value in record["options"].items())
    return f"""---
library_name: transformers
tags: [deltaedit, delta-parameter-editing, {record["method"]}]
---

# {name}

An edited model made by deltaedit: the delta (post-trained minus pretrained weights) of the pair
`{record["pair"]}` was edited by `{record["method"]}` ({options}; seed {record["seed"]}) and added
to the pretrained weights again. Config and tokenizer are those of the post-trained model.

The record below also stands in the metadata of the safetensors files.

```json
{json.dumps(record, indent=2)}
```
"""
