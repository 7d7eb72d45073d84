"""What a job needs of a machine, from the size of its models: memory, GPU memory and time.

These are upper bounds to ask a cluster for, not measurements of one: memory is what the job holds
at its peak, time is that of one GPU of the last years or, for edits, of a shared file system. A
job that needs more fails, and asks for twice as much when it is tried again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import ceil, log2
from pathlib import Path
from typing import Any

from deltaedit.checkpoints import DTYPES, stored_tensors

MB, GB = 1e6, 1e9
GPU_MB = 75_000  # of a GPU of 80 GB, what a job may use

# A cluster's job is three processes: two Snakemakes around the script, and its libraries.
LIBRARIES_MB = 3_000
ACTIVATIONS_MB = 6_000  # of a batch, on a GPU, with the CUDA libraries
LARGEST_BYTES = 40  # per entry of the largest tensor: float64, its product with itself, factors
FLOAT = 4  # bytes
SMALL = 100 * MB  # a model below this is edited within seconds
DOCUMENTS = 1000  # of a task


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What the first attempt of a job asks for; without `gpu_mb`, no GPU."""

    mem_mb: int
    minutes: int
    gpu_mb: int = 0
    in_parallel: bool = False  # the GPUs split every matrix: a power of two of them

    def gpus(self, attempt: int, gpu_mb: int) -> int:
        """Return how many GPUs of `gpu_mb` each hold what an attempt asks for; 0 if there are none.

        Args:
            attempt: 1, 2, ...
            gpu_mb: memory of one GPU; 0 on a cluster without any.
        """
        count = ceil(attempt * self.gpu_mb / gpu_mb) if gpu_mb else 0
        return 2 ** ceil(log2(count)) if self.in_parallel and count else count


@dataclass(frozen=True)
class Size:
    """The size of a model."""

    stored: int  # bytes on disk
    entries: int
    largest: int  # entries of its largest tensor


def size(folder: str | Path) -> Size:
    """Return the size of a checkpoint's model from the headers of its files.

    Raises:
        FileNotFoundError: the folder is not there yet.
    """
    return _size(str(folder), Path(folder).stat().st_mtime_ns)


@cache  # hundreds of jobs ask for the same pair
def _size(folder: str, changed: int) -> Size:
    tensors = stored_tensors(Path(folder)).values()
    return Size(
        sum(tensor.size * tensor.itemsize for tensor in tensors),
        sum(tensor.size for tensor in tensors),
        max(tensor.size for tensor in tensors),
    )


def threads(model: Size) -> int:
    """Return how many threads an edit takes: a small model's would wait longer for a second."""
    return 1 if model.stored < SMALL else 2


def training() -> Needs:
    """Return what training a stage of the demo needs, or making its pictures."""
    return Needs(mem_mb=LIBRARIES_MB, minutes=30)


def unpacking(file: int) -> Needs:
    """Return what turning a GGUF file of so many bytes into a checkpoint needs.

    Its numbers, of four bits or more each, stand in memory in float32, twice.
    """
    return Needs(mem_mb=ceil(LIBRARIES_MB + 16 * file / MB), minutes=ceil(20 + 20 * file / GB))


def continuation(model: Size, spec: Mapping[str, Any]) -> Needs:
    """Return what continued training needs: weights, gradients and AdamW's moments in float32.

    Several GPUs share them.

    Args:
        model: at the start.
        spec: `steps`, `batch_size`, `length` and `save_every`.
    """
    weights = FLOAT * model.entries
    tokens = spec["steps"] * spec["batch_size"] * spec["length"]
    computed = 6 * model.entries * tokens / 1e14 / 60  # minutes, at 10^14 operations a second
    saved = spec["steps"] / spec["save_every"] * 3 * weights / GB / 60  # at a gigabyte a second
    return Needs(
        mem_mb=ceil(LIBRARIES_MB + 4.1 * weights / MB),
        gpu_mb=ceil(ACTIVATIONS_MB + 4.1 * weights / MB),
        minutes=ceil(30 + computed + saved),
    )


def editing(model: Size, variants: int, *, whole: bool) -> Needs:
    """Return what reading a pair and writing variants of it needs.

    Args:
        model: the pair's.
        variants: how many are written.
        whole: some tensors are in memory whole, not run by run.
    """
    return Needs(
        mem_mb=ceil(LIBRARIES_MB + whole * LARGEST_BYTES * model.largest / MB),
        minutes=ceil(20 + variants * model.stored / GB),
    )


def decomposition(model: Size) -> Needs:
    """Return what the singular vectors of all matrices of a delta need."""
    memory = editing(model, 1, whole=True).mem_mb
    return Needs(mem_mb=memory, minutes=ceil(20 + 20 * model.stored / GB))


def preparation(model: Size) -> Needs:
    """Return what preparing pictures or encoding classes needs, on a processor."""
    return Needs(mem_mb=ceil(LIBRARIES_MB + 2 * FLOAT * model.entries / MB), minutes=120)


def evaluation(model: Size, suite: Mapping[str, Any], variants: int) -> Needs:
    """Return what evaluating variants on a suite needs.

    Args:
        model: of the variants.
        suite: `tasks`, `dtype`, `backend` and `limit`.
        variants: how many.
    """
    weights = dict(DTYPES.values())[suite["dtype"]] * model.entries
    share = min(suite["limit"] or DOCUMENTS, DOCUMENTS) / DOCUMENTS
    return Needs(
        mem_mb=ceil(LIBRARIES_MB + 1.5 * weights / MB),
        gpu_mb=ceil(ACTIVATIONS_MB + 1.2 * weights / MB),
        minutes=ceil(20 + variants * len(suite["tasks"]) * (0.2 + 2 * share * weights / GB)),
        in_parallel=suite["backend"] == "vllm",
    )


def gradient(model: Size, loss: Mapping[str, Any]) -> Needs:
    """Return what a gradient needs: weights and all gradients, in float32."""
    return _of_loss(model, loss, copies=2.1, passes=1)


def curvature(model: Size, loss: Mapping[str, Any], probes: int) -> Needs:
    """Return what estimating a curvature needs: two gradients for each probe."""
    return _of_loss(model, loss, copies=1.3, passes=2 * probes)


def loss_change(model: Size, loss: Mapping[str, Any], variants: int) -> Needs:
    """Return what approximating the loss change of variants needs: a gradient at every node."""
    nodes = len(loss["quadrature"]) * (loss["intervals"] + 1)
    return _of_loss(model, loss, copies=1.3, passes=variants * nodes)


def _of_loss(model: Size, loss: Mapping[str, Any], *, copies: float, passes: int) -> Needs:
    weights = FLOAT * model.entries
    per_pass = 0.1 + loss["count"] / 200 * weights / GB / 4  # minutes
    return Needs(
        mem_mb=ceil(LIBRARIES_MB + copies * weights / MB),
        gpu_mb=ceil(ACTIVATIONS_MB + copies * weights / MB),
        minutes=ceil(20 + passes * per_pass),
    )
