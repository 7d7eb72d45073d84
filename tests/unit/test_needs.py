"""What jobs ask for grows with their model and their attempt."""

import pytest
import torch
from safetensors.torch import save_file

from deltaedit import needs
from deltaedit.needs import Needs, Size

LLAMA_8B = Size(stored=16_060_522_496, entries=8_030_261_248, largest=128_256 * 4096)
SUITE = {"dtype": "bfloat16", "tasks": dict.fromkeys("abcdefgh"), "backend": "hf", "limit": None}
LOSS = {"count": 200, "quadrature": ["left"], "intervals": 5}
GPU = needs.GPU_MB


def test_the_size_of_a_model_is_read_from_all_its_files(tmp_path):
    save_file({"a": torch.zeros(3, 5)}, tmp_path / "model-1.safetensors")
    save_file({"b": torch.zeros(7, dtype=torch.bfloat16)}, tmp_path / "model-2.safetensors")
    assert needs.size(tmp_path) == Size(stored=60 + 14, entries=22, largest=15)


def test_a_model_that_is_not_there_yet_is_a_missing_file_by_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        needs.size(tmp_path / "model")
    assert error.value.filename == str(tmp_path / "model"), "Snakemake compares it"


def test_weights_fit_into_what_is_asked_for():
    weights_mb = 2 * LLAMA_8B.entries / 1e6
    evaluation = needs.evaluation(LLAMA_8B, SUITE, 1)
    assert weights_mb < evaluation.gpu_mb < 2 * weights_mb
    assert weights_mb < evaluation.mem_mb
    change = needs.loss_change(LLAMA_8B, LOSS, 1)
    assert change.gpu_mb > 2 * weights_mb, "float32"
    gradient = needs.gradient(LLAMA_8B, LOSS)
    assert gradient.gpu_mb > 4 * weights_mb - 1, "all gradients beside the weights"


def test_an_8b_model_takes_one_gpu_except_where_gradients_are_kept():
    assert needs.evaluation(LLAMA_8B, SUITE, 1).gpus(1, GPU) == 1
    assert needs.loss_change(LLAMA_8B, LOSS, 1).gpus(1, GPU) == 1
    assert needs.curvature(LLAMA_8B, LOSS, 8).gpus(1, GPU) == 1
    assert needs.gradient(LLAMA_8B, LOSS).gpus(1, GPU) == 1
    llama_70b = Size(*(9 * n for n in (LLAMA_8B.stored, LLAMA_8B.entries, LLAMA_8B.largest)))
    assert needs.evaluation(llama_70b, SUITE, 1).gpus(1, GPU) == 3
    vllm = needs.evaluation(llama_70b, {**SUITE, "backend": "vllm"}, 1)
    assert [vllm.gpus(attempt, GPU) for attempt in (1, 2)] == [4, 8], "they split every matrix"
    for edit in (needs.editing(llama_70b, 1, whole=True), needs.decomposition(llama_70b)):
        assert edit.gpus(1, GPU) == 0


def test_continued_pretraining_holds_four_copies_in_float32_shared_by_gpus():
    spec = {"steps": 125, "batch_size": 8, "length": 512, "save_every": 50}
    asked = needs.continuation(LLAMA_8B, spec)
    assert min(asked.mem_mb, asked.gpu_mb) > 16 * LLAMA_8B.entries / 1e6
    assert asked.gpus(1, GPU) == 2
    assert needs.continuation(LLAMA_8B, {**spec, "steps": 12_500}).minutes > asked.minutes + 100


def test_an_edit_that_streams_takes_the_memory_of_no_model():
    streaming, whole = (needs.editing(LLAMA_8B, 1, whole=w).mem_mb for w in (False, True))
    assert streaming == needs.editing(Size(1, 1, 1), 1, whole=False).mem_mb
    assert whole - streaming > 32 * LLAMA_8B.largest / 1e6, "float64 matrices and their products"


@pytest.mark.parametrize(
    ("attempt", "gpu_mb", "gpus"), [(1, 10, 1), (2, 10, 2), (1, 3, 4), (3, 10, 3), (3, 0, 0)]
)
@pytest.mark.parametrize("in_parallel", [False, True])
def test_attempts_ask_for_more_gpus_if_there_are_any(attempt, gpu_mb, gpus, in_parallel):
    asked = Needs(mem_mb=1, minutes=1, gpu_mb=10, in_parallel=in_parallel)
    assert asked.gpus(attempt, gpu_mb) == (4 if in_parallel and gpus == 3 else gpus)


def test_time_grows_with_what_there_is_to_do():
    one, many = (needs.evaluation(LLAMA_8B, SUITE, n).minutes for n in (1, 10))
    assert many > 5 * one
    smoke, most = (needs.evaluation(LLAMA_8B, {**SUITE, "limit": n}, 9).minutes for n in (16, 9999))
    assert smoke < 20 + 9 * 8 and most == needs.evaluation(LLAMA_8B, SUITE, 9).minutes
    short, long = (needs.loss_change(LLAMA_8B, {**LOSS, "intervals": n}, 4).minutes for n in (1, 9))
    assert long > 2 * short
    small = Size(1000, 500, 100)
    assert needs.evaluation(small, SUITE, 1).minutes < 30


def test_a_small_model_is_edited_by_one_thread():
    """It would wait, and hold up all others, until a second core is free."""
    assert needs.threads(LLAMA_8B) == 2
    assert needs.threads(Size(stored=4_000_000, entries=1_000_000, largest=50_000)) == 1
