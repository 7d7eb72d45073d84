"""Continue the training of a causal language model, with transformers' Trainer.

On text it is continued pretraining as in appendix A.2 of ParamDelta (Cao et al. 2025): plain
next-token loss on packed text, which makes the base' that a delta is carried onto. On prompts with
answers it is supervised fine-tuning: the same loss on the answers alone. A killed job goes on from
its last checkpoint. On several GPUs the work is done by one process each, which `command` starts:
they share weights, gradients and optimizer (FSDP), and the sequences of a step.
"""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from deltaedit import digest, logs, models, provenance
from deltaedit.checkpoints import Checkpoint, content_digest, copy_rest, torch_dtype, write_tensors
from deltaedit.errors import UserError
from deltaedit.files import whole_folder
from deltaedit.losses._answers import IGNORED, Encoding, encode, padded

KINDS = (("text",), ("prompt", "answer"))  # what the rows of data hold, all of them the same
STATE = "trainer_state.json"  # the last file of a Trainer's checkpoint

log = logging.getLogger(__name__)


def continue_pretraining(
    start: Path, data: Path, spec: Mapping[str, Any], target: Path, work: Path, code: str = ""
) -> None:
    """Train the model in `start` on `data`, and place it at `target`, whole or absent.

    Weights, gradients and AdamW's moments are float32; on a GPU activations are bfloat16. The
    learning rate falls linearly to 0, gradients are clipped to norm 1, nothing decays. The result
    has the tensors, dtypes, config and tokenizer of `start`, and its mark of provenance.

    Args:
        start: a checkpoint's folder, marked with its provenance.
        data: see `read_rows`; text or prompts with answers.
        spec: `steps`, `learning_rate`, `batch_size` (sequences per step, over all GPUs), `length`
            (tokens of a sequence, see `sequences`), `save_every` (steps between checkpoints) and
            `seed`.
        target: the folder to make.
        work: where Trainer's checkpoints stand until the result does, by all that they depend on.
        code: a digest of the code, on which they depend too.

    Raises:
        UserError: data too short, too long or not as they should be, sequences longer than the
            model takes, weights that transformers names differently.
    """
    processes = int(os.environ.get("WORLD_SIZE", 1))
    origin = {
        **{key: value for key, value in spec.items() if key != "save_every"},
        "start": provenance.read(start),
        "data": {"file": data.name, "sha256": digest.of_files([data])},
    }
    key = [
        origin,
        content_digest(start),
        processes,
        code,
        version("torch"),
        version("transformers"),
    ]
    work = work / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    arguments = _arguments(spec, work, processes)  # before the model, which the processes share
    model = AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32)
    stored = _stored(model, start)
    most = getattr(model.config.get_text_config(), "max_position_embeddings", spec["length"])
    if spec["length"] > most:
        raise UserError(f"length {spec['length']}: the model of {start} takes {most} tokens")
    tokenizer = models.load_tokenizer(start)
    examples = sequences(read_rows(data), tokenizer, spec["length"])
    log.info("%d sequences of at most %d tokens from %s", len(examples), spec["length"], data)
    trainer = Trainer(
        model,
        arguments,
        data_collator=partial(_collate, tokenizer=tokenizer),
        train_dataset=examples,
    )
    if trainer.is_world_process_zero():
        trainer.add_callback(_Progress(f"continue_pretraining {target.parent.name}", spec["steps"]))
    trainer.train(resume_from_checkpoint=last_checkpoint(work))
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if trainer.is_world_process_zero():
        _save(state, stored, start, target, origin)
        shutil.rmtree(work)


def run(job: Mapping[str, Any]) -> None:
    """Do a job, the arguments of `continue_pretraining` as JSON: here, or on several GPUs.

    Raises:
        UserError: as `continue_pretraining`; on several GPUs the log says why.
    """
    gpus = torch.cuda.device_count()
    if gpus < 2 or "WORLD_SIZE" in os.environ:  # or this is one of the processes
        paths = {name: Path(job[name]) for name in ("start", "data", "target", "work")}
        continue_pretraining(**{**job, **paths})
        return
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    if subprocess.run(command(gpus, job), env=environment).returncode:
        raise UserError("continued training failed in one of its processes; see the log")


def command(gpus: int, job: Mapping[str, Any]) -> list[str]:
    """Return the command line that does a job on several GPUs, one process for each.

    There are as many as split the sequences of a step evenly.

    Raises:
        UserError: that would be one.
    """
    batch = job["spec"]["batch_size"]
    processes = max(n for n in range(1, gpus + 1) if batch % n == 0)
    if processes == 1:
        raise UserError(
            f"a batch_size of {batch} cannot be split over {gpus} GPUs; give a multiple of their"
            " number, or let the job see one (CUDA_VISIBLE_DEVICES=0)"
        )
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    # Port 0 is any free one: two jobs on one machine do not meet.
    machine = ["--num_machines", "1", "--num_processes", str(processes), "--main_process_port", "0"]
    itself = [
        "--mixed_precision",
        "bf16",
        "--dynamo_backend",
        "no",
        "--module",
        "deltaedit.continual",
        json.dumps(job),
    ]
    return [*launch, *machine, *itself]


def read_rows(data: Path) -> list[dict[str, str]]:
    """Read JSON lines, all with a "text" or all with a "prompt" and an "answer".

    Any other file is one text.

    Raises:
        UserError: no line, a line without what it needs or with both, bytes that are not UTF-8.
    """
    try:
        content = data.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{data}: not text in UTF-8 ({error.reason})") from None
    if data.suffix != ".jsonl":
        return [{"text": content}]
    rows: list[dict[str, str]] = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError:
            raise UserError(f"{data}, line {number}: not JSON") from None
        rows.append(_checked(row, rows[:1], f"{data}, line {number}"))
    if not rows:
        raise UserError(f"{data}: has no line")
    return rows


def _checked(row: object, first: Sequence[Mapping[str, str]], where: str) -> dict[str, str]:
    """Return what a row holds of the kind that it is, which must be that of the first."""
    held = row if isinstance(row, dict) else {}
    kinds = [keys for keys in KINDS if all(isinstance(held.get(key), str) for key in keys)]
    if len(kinds) != 1:
        wanted = 'a text as "text", or with texts as "prompt" and "answer"'
        raise UserError(f"{where}: must be an object with {wanted}, not both")
    found = {key: held[key] for key in kinds[0]}
    if first and first[0].keys() != found.keys():
        names = " and ".join(map(repr, found)), " and ".join(map(repr, first[0]))
        raise UserError(f"{where}: has {names[0]}, line 1 has {names[1]}; make two files")
    if "answer" in found and not (found["prompt"] and found["answer"]):
        raise UserError(f"{where}: the prompt or the answer is empty")
    return found


def sequences(
    rows: Sequence[Mapping[str, str]], tokenizer: PreTrainedTokenizerBase, length: int
) -> list[dict[str, list[int]]]:
    """Return the `input_ids` and `labels` of what a model is trained on.

    Texts are packed, see `pack`. A prompt and its answer are one sequence of at most `length`
    tokens, encoded and labelled as the loss `next_token` does: the answer and the end-of-sequence
    token after it are predicted, the prompt is not.

    Raises:
        UserError: texts of fewer than `length` tokens in all, an answer that exceeds them.
    """
    if "text" in rows[0]:
        blocks = pack([row["text"] for row in rows], tokenizer, length)
        return [{"input_ids": block, "labels": block} for block in blocks]
    numbered = dict(enumerate(rows, start=1))
    answers = encode(numbered, ["answer"], tokenizer, Encoding(max_length=sys.maxsize))
    for number, (answer,) in enumerate(answers, start=1):
        if len(answer.ids) > length:
            raise UserError(
                f"line {number} of the data: {len(answer.ids)} tokens; raise length ({length}) or"
                " leave the line out"
            )
    return [{"input_ids": answer.ids, "labels": answer.labels} for (answer,) in answers]


def pack(texts: list[str], tokenizer: PreTrainedTokenizerBase, length: int) -> list[list[int]]:
    """Join documents, each followed by the end-of-sequence token, and cut them into sequences.

    The last sequence begins earlier, within the one before, so that all have `length` tokens and
    no text is left out.

    Raises:
        UserError: fewer than `length` tokens.
    """
    encoded = tokenizer(texts, add_special_tokens=False, verbose=False).input_ids
    tokens = list(chain.from_iterable([*ids, tokenizer.eos_token_id] for ids in encoded))
    if len(tokens) < length:
        raise UserError(f"the data have {len(tokens)} tokens, less than a sequence of {length}")
    starts = [*range(0, len(tokens) - length, length), len(tokens) - length]
    return [tokens[at : at + length] for at in starts]


def last_checkpoint(work: Path) -> str | None:
    """Return the Trainer's last whole checkpoint; one that a kill cut short has no state yet."""
    found = {int(folder.name.split("-")[1]): folder for folder in work.glob("checkpoint-*")}
    for _, folder in sorted(found.items(), reverse=True):
        try:
            json.loads((folder / STATE).read_text())
        except (OSError, ValueError):
            continue
        log.info("going on from %s", folder)
        return str(folder)
    return None


def _collate(
    examples: Sequence[Mapping[str, list[int]]], tokenizer: PreTrainedTokenizerBase
) -> dict[str, torch.Tensor]:
    """Pad sequences to the longest of them."""
    ids = [example["input_ids"] for example in examples]
    labels = [example["labels"] for example in examples]
    return {
        "input_ids": padded(ids, tokenizer.pad_token_id or 0),
        "attention_mask": padded([[1] * len(each) for each in ids], 0),
        "labels": padded(labels, IGNORED),
    }


class _Progress(TrainerCallback):
    """Shows the steps as other jobs show their progress."""

    def __init__(self, label: str, steps: int) -> None:
        self._steps = iter(logs.progress(range(steps), label))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for _ in range(state.global_step + 1):  # done before, and the first to do
            next(self._steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        next(self._steps, None)


def _arguments(spec: Mapping[str, Any], work: Path, processes: int) -> TrainingArguments:
    cuda = torch.cuda.is_available()
    shared = {"fsdp": True, "fsdp_config": {"state_dict_type": "FULL_STATE_DICT"}}
    return TrainingArguments(
        output_dir=str(work),
        max_steps=spec["steps"],
        per_device_train_batch_size=spec["batch_size"] // processes,
        learning_rate=spec["learning_rate"],
        lr_scheduler_type="linear",
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=spec["seed"],
        bf16=cuda,
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        save_steps=spec["save_every"],
        save_total_limit=1,
        logging_steps=spec["save_every"],
        ddp_find_unused_parameters=False,
        report_to=[],
        disable_tqdm=True,
        **(shared if processes > 1 else {}),
    )


def _stored(model: PreTrainedModel, start: Path) -> Checkpoint:
    """Return the checkpoint, whose tensors must be the model's parameters."""
    stored = Checkpoint(start)
    for name, _ in model.named_parameters():
        if name not in stored.tensors:
            raise UserError(
                f"{start} has no tensor {name!r}, as transformers calls it; save it anew with"
                " save_pretrained of this version"
            )
    return stored


def _save(
    state: Mapping[str, torch.Tensor],
    stored: Checkpoint,
    start: Path,
    target: Path,
    origin: Mapping[str, Any],
) -> None:
    def tensor(name: str) -> torch.Tensor:
        if name not in state:  # a buffer that is not saved any more
            return stored.tensor(name)
        return state[name].to("cpu", torch_dtype(stored.tensors[name].dtype))

    with whole_folder(target) as folder:
        write_tensors(folder, stored.layout(), tensor, metadata={})
        copy_rest(start, folder)
        provenance.mark(folder, {"source": "continued", **origin})


if __name__ == "__main__":
    logging.basicConfig(level="INFO", format="%(asctime)s %(name)s %(message)s")
    run(json.loads(sys.argv[1]))
