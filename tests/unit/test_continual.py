"""Pretraining that goes on: what it reads, what it keeps, and that a kill costs steps alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import pytest
import torch
from accelerate.commands.launch import launch_command_parser
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from deltaedit import continual, losses, provenance
from deltaedit.checkpoints import Checkpoint
from deltaedit.demo import chronicle, language
from deltaedit.errors import UserError

SCRIPTS = Path(continual.__file__).parents[1]
SPEC = {
    "steps": 12,
    "learning_rate": 1e-3,
    "batch_size": 4,
    "length": 32,
    "save_every": 5,
    "seed": 3,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("data") / "news.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in chronicle.chronicle(100)))
    return file


@pytest.fixture(scope="module")
def start(tiny_pair) -> Path:
    base, _ = tiny_pair()
    provenance.mark(base, {"source": "path", "path": "somewhere"})
    return base


def go_on(start, data, folder, **changes):
    spec = {**SPEC, **changes}
    continual.continue_pretraining(start, data, spec, folder / "model", folder / "kept")
    return folder / "model"


def weights(folder):
    return {name: Checkpoint(folder).tensor(name) for name in Checkpoint(folder).tensors}


def equal(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


# --- text -------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [2, 7, 25, 26])
def test_packing_loses_no_token_and_keeps_their_order(tokenizer, length):
    texts = ["science says the dog is red .", "3 + 5 = 8 .", "tom said : cat .", "the sun is gold"]
    documents = ([*tokenizer.encode(text), tokenizer.eos_token_id] for text in texts)
    tokens = list(chain.from_iterable(documents))
    blocks = continual.pack(texts, tokenizer, length)
    assert {len(block) for block in blocks} == {length}
    assert len(blocks) == -(-len(tokens) // length)
    *full, last = blocks
    assert list(chain.from_iterable(full)) == tokens[: length * len(full)]
    assert last == tokens[-length:]


def test_too_little_text_is_refused(tokenizer):
    with pytest.raises(UserError, match="have 3 tokens, less than a sequence of 4"):
        continual.pack(["red blue"], tokenizer, 4)


def test_a_plain_file_is_one_document_and_json_lines_are_one_each(tmp_path):
    plain, lines = tmp_path / "doc.txt", tmp_path / "docs.jsonl"
    plain.write_text("the origins\n\nof a thing\n")
    lines.write_text('{"text": "one\\ntwo"}\n{"text": "three", "id": 3}\n')
    assert continual.read_rows(plain) == [{"text": "the origins\n\nof a thing\n"}]
    assert continual.read_rows(lines) == [{"text": "one\ntwo"}, {"text": "three"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"text": "a"}\n{"prompt": "b"}\n', "line 2: must be an object"),
        (b'{"text": "a"}\n["b"]\n', "line 2: must be an object"),
        (b'{"text": 5}\n', "line 1: must be an object"),
        (b'{"text": "a"\n', "line 1: not JSON"),
        (b"\xff\xfe", "not text in UTF-8"),
        (b"", "has no line"),
        (b'{"prompt": "a", "answer": "b"}\n{"text": "c"}\n', "line 2: has 'text', line 1 has"),
        (b'{"prompt": "a", "answer": "b", "text": "c"}\n', "line 1: must be .*, not both"),
        (b'{"prompt": "a", "answer": ["b"]}\n', "line 1: must be an object"),
        (b'{"prompt": "a", "answer": ""}\n', "line 1: the prompt or the answer is empty"),
    ],
)
def test_odd_data_are_refused_in_one_line(tmp_path, content, message):
    file = tmp_path / "docs.jsonl"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        continual.read_rows(file)
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)


# --- prompts with answers ---------------------------------------------------------------------

ANSWERS = [
    {"prompt": "question : tom has 3 pens . answer :", "answer": "3 + 5 = 8 #### 8"},
    {"prompt": "instruction : list 2 homes . response :", "answer": "lake cave"},
    {"prompt": "question : what color is it ? answer :", "answer": "red"},
]


@pytest.fixture
def answers(tmp_path) -> Path:
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ANSWERS))
    return file


def test_the_answer_and_the_end_after_it_are_predicted_and_nothing_else(answers, tokenizer):
    examples = continual.sequences(continual.read_rows(answers), tokenizer, 32)
    for row, example in zip(ANSWERS, examples, strict=True):
        prompt = tokenizer(row["prompt"]).input_ids
        answer = [*tokenizer(row["answer"]).input_ids, tokenizer.eos_token_id]
        assert example["input_ids"] == prompt + answer
        assert example["labels"] == [-100] * len(prompt) + answer


def test_the_loss_trained_on_is_the_loss_next_token(answers, start, tokenizer):
    examples = continual.sequences(continual.read_rows(answers), tokenizer, 32)
    batch = continual._collate(examples, tokenizer)
    model = AutoModelForCausalLM.from_pretrained(start).eval()
    spec = {"kind": "next_token", "options": {}, "count": 3, "batch_size": 3}
    [(_, loss)] = losses.build(spec, answers, tokenizer)
    with torch.no_grad():
        assert model(**batch).loss.item() == pytest.approx(loss(model).item(), rel=1e-6)


def test_an_answer_that_exceeds_the_length_is_refused(answers, tokenizer):
    rows = continual.read_rows(answers)
    longest = max(len(e["input_ids"]) for e in continual.sequences(rows, tokenizer, 32))
    assert len(continual.sequences(rows, tokenizer, longest)) == len(ANSWERS)
    message = rf"^line 1 of the data: {longest} tokens; raise length \({longest - 1}\)"
    with pytest.raises(UserError, match=message):
        continual.sequences(rows, tokenizer, longest - 1)


def test_a_model_learns_its_answers(answers, start, tokenizer, tmp_path):
    model = go_on(start, answers, tmp_path, steps=60, learning_rate=1e-2, batch_size=2)
    spec = {"kind": "next_token", "options": {}, "count": 3, "batch_size": 3}
    [(_, loss)] = losses.build(spec, answers, tokenizer)
    with torch.no_grad():
        before, after = (
            loss(AutoModelForCausalLM.from_pretrained(folder)) for folder in (start, model)
        )
    assert after < before / 4
    mark = provenance.read(model)
    assert (mark["source"], mark["data"]["file"]) == ("continued", "answers.jsonl")


# --- training ---------------------------------------------------------------------------------


def test_the_result_is_the_start_but_for_its_weights(start, data, tmp_path):
    model = go_on(start, data, tmp_path)
    before, after = weights(start), weights(model)
    assert before.keys() == after.keys()
    assert all(before[name].dtype == after[name].dtype for name in before)
    assert all(not torch.equal(before[name], after[name]) for name in before)
    for name in ("config.json", "generation_config.json", "tokenizer.json"):
        assert (model / name).read_bytes() == (start / name).read_bytes()
    mark = provenance.read(model)
    assert mark["source"] == "continued"
    assert mark["start"] == provenance.read(start)
    assert mark["data"]["file"] == "news.jsonl"
    assert {key: mark[key] for key in SPEC if key != "save_every"} == {
        key: value for key, value in SPEC.items() if key != "save_every"
    }
    assert not list((tmp_path / "kept").iterdir()), "Trainer's checkpoints are gone"


@pytest.mark.parametrize("options", [{"tied": True}, {"shard": "20KB"}])
def test_shards_ties_and_the_dtype_of_the_start_are_kept(tiny_pair, data, tmp_path, options):
    start, _ = tiny_pair(dtype=torch.bfloat16, **options)
    provenance.mark(start, {"source": "path", "path": "somewhere"})
    model = go_on(start, data, tmp_path, steps=2)
    assert Checkpoint(model).tensors.keys() == Checkpoint(start).tensors.keys()
    assert {t.dtype for t in weights(model).values()} == {torch.bfloat16}
    assert {f.name for f in model.iterdir()} == {f.name for f in start.iterdir()}
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
    assert loaded.dtype == torch.bfloat16
    assert not equal(start, model)


def test_small_steps_are_not_lost_to_the_dtype_of_the_start(tiny_pair, data, tmp_path):
    """A step of 1e-6 is far below bfloat16's spacing; a hundred of them add up in float32."""
    start, _ = tiny_pair(dtype=torch.bfloat16)
    provenance.mark(start, {"source": "path", "path": "somewhere"})
    model = go_on(start, data, tmp_path, steps=100, learning_rate=2e-5, batch_size=1)
    before, after = weights(start), weights(model)
    moved = sum((before[n] != after[n]).sum().item() for n in before)
    assert moved > 0.05 * sum(t.numel() for t in before.values())


def test_the_loss_on_the_text_falls(start, data, tmp_path):
    model = go_on(start, data, tmp_path, steps=60, learning_rate=1e-2)
    tokenizer = AutoTokenizer.from_pretrained(start)
    texts = [row["text"] for row in continual.read_rows(data)]
    blocks = torch.tensor(continual.pack(texts, tokenizer, 32))

    def loss(folder):
        loaded = AutoModelForCausalLM.from_pretrained(folder)
        with torch.no_grad():
            return loaded(input_ids=blocks, labels=blocks).loss.item()

    assert loss(model) < loss(start) - 1


def test_the_seed_fixes_every_bit(start, data, tmp_path):
    one, same, other = (
        go_on(start, data, tmp_path / name, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert equal(one, same)
    assert not equal(one, other)


def test_sequences_longer_than_the_model_takes_are_refused(start, data, tmp_path):
    with pytest.raises(UserError, match=r"length 500: the model of .* takes 128 tokens"):
        go_on(start, data, tmp_path, length=500)
    assert not (tmp_path / "model").exists()


def test_foreign_names_of_tensors_are_refused(start, data, tmp_path):
    odd = Path(shutil.copytree(start, tmp_path / "odd"))
    tensors = load_file(odd / "model.safetensors")
    tensors["model.final.weight"] = tensors.pop("model.norm.weight")
    save_file(tensors, odd / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"has no tensor 'model\.norm\.weight'"):
        go_on(odd, data, tmp_path)


# --- a kill -----------------------------------------------------------------------------------


def job(start, data, folder, **changes):
    paths = {"start": start, "data": data, "target": folder / "model", "work": folder / "kept"}
    return {**{name: str(path) for name, path in paths.items()}, "spec": {**SPEC, **changes}}


def environment():
    return {**os.environ, "PYTHONPATH": str(SCRIPTS), "OMP_NUM_THREADS": "1"}


def test_a_killed_job_goes_on_from_its_last_checkpoint(start, data, tmp_path):
    spec = {"steps": 300, "save_every": 20, "learning_rate": 1e-4}
    command = [sys.executable, "-m", "deltaedit.continual"]
    command.append(json.dumps(job(start, data, tmp_path, **spec)))
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    kept = tmp_path / "kept"
    deadline = time.monotonic() + 120
    while not list(kept.glob(f"*/checkpoint-*/{continual.STATE}")):
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "model").exists()
    [work] = kept.iterdir()
    last = continual.last_checkpoint(work)
    assert last is not None
    assert int(last.split("-")[-1]) >= 20

    second = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert f"going on from {last}" in second.stderr
    assert not list(kept.iterdir())
    whole = subprocess.run(
        [*command[:-1], json.dumps(job(start, data, tmp_path / "whole", **spec))],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "going on" not in whole.stderr
    assert equal(tmp_path / "model", tmp_path / "whole" / "model"), "as if it had not been killed"


def test_other_options_do_not_go_on_from_earlier_checkpoints(start, data, tmp_path, monkeypatch):
    def fail(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(continual, "_save", fail)
        with pytest.raises(KeyboardInterrupt):
            go_on(start, data, tmp_path)
    [work] = (tmp_path / "kept").iterdir()
    assert continual.last_checkpoint(work).endswith("checkpoint-12")
    other = go_on(start, data, tmp_path, seed=4)
    assert list((tmp_path / "kept").iterdir()) == [work], "what the first left is still there"
    assert equal(other, go_on(start, data, tmp_path / "alone", seed=4))


def test_a_checkpoint_cut_short_does_not_count(tmp_path):
    assert continual.last_checkpoint(tmp_path) is None
    for step, state in ((9, "{}"), (50, "{}"), (100, '{"global_st'), (150, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / continual.STATE).write_text(state)
    assert continual.last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-50")


# --- several processes ------------------------------------------------------------------------


@pytest.mark.parametrize(("gpus", "batch", "processes"), [(4, 8, 4), (6, 8, 4), (3, 6, 3)])
def test_accelerate_reads_the_command_for_several_gpus(
    start, data, tmp_path, gpus, batch, processes
):
    asked = job(start, data, tmp_path, batch_size=batch)
    python, dash_m, module, *options = continual.command(gpus, asked)
    assert (python, dash_m, module) == (sys.executable, "-m", "accelerate.commands.launch")
    read = launch_command_parser().parse_args(options)
    assert (read.num_processes, read.multi_gpu, read.module) == (processes, True, True)
    assert read.training_script == "deltaedit.continual"
    assert [json.loads(text) for text in read.training_script_args] == [asked]


def test_a_batch_that_cannot_be_split_is_refused(start, data, tmp_path):
    with pytest.raises(UserError, match="batch_size of 1 cannot be split over 4 GPUs"):
        continual.command(4, job(start, data, tmp_path, batch_size=1))


def test_two_processes_train_as_one_does(start, data, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", "2", "-m", "deltaedit.continual"]
    command.append(json.dumps(job(start, data, tmp_path)))
    subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    one, two = weights(go_on(start, data, tmp_path / "one")), weights(tmp_path / "model")
    before = weights(start)
    step = max((one[name] - before[name]).abs().max() for name in one)
    assert max((one[name] - two[name]).abs().max() for name in one) < step / 100


def test_the_demo_s_text_needs_no_longer_sequences_than_its_model_takes():
    longest = max(len(language.split_words(row["text"])) for row in chronicle.chronicle())
    assert longest < 128
