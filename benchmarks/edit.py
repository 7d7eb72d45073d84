"""Time the edit stage against a plain copy of the same bytes, and against mergekit.

    python benchmarks/edit.py --size 1.1B --folder /dev/shm/deltaedit --runs 5 --threads 2 \
        --mergekit PATH/TO/mergekit-yaml > table.md

Makes (once) a synthetic sharded bfloat16 Llama pair in the folder and measures each method as a
process of its own, in rounds. Ratios are medians over the rounds, each of two runs one after the
other. The folder should lie in memory, and takes six times a model's bytes, or three where
`--variants-size` names a smaller pair for four variants in one pass. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

# No package is imported above: a child's peak memory is never below what its parent had.
ROOT = Path(__file__).parents[1]
CHUNK = 1 << 19  # bytes: what an edit reads at once of base, and of post
SIZES = {  # hidden, feed-forward, vocabulary, keys and values, layers
    "tiny": (64, 192, 512, 64, 2),
    "134M": (768, 2048, 32000, 768, 12),
    "350M": (2048, 5632, 32000, 256, 5),
    "1.1B": (2048, 5632, 32000, 256, 22),
    "8B": (4096, 14336, 128256, 1024, 32),
}
Options = dict[str, float]
Task = Callable[..., None]
Cell = (
    float | tuple[float, str, float]
)  # a figure, or one that is to be at "most" or "least" another
METHODS: dict[str, tuple[str, Options, float]] = {  # method, options, at most x the copy's wall
    "expo": ("expo", {"alpha": 0.3}, 2),
    "bitdelta": ("bitdelta", {}, 2),
    "dare": ("dare", {"drop_rate": 0.9}, 3),
    "ties": ("ties", {"drop_rate": 0.8}, 3),
    "bitdelta-16": ("bitdelta", {"blocks": 16}, 3),
    "della": ("della", {"drop_rate": 0.8, "window": 0.2}, 6),
}
MERGEKIT: dict[str, tuple[str, Options, float]] = {  # the same there, at least x our CPU
    "expo": ("task_arithmetic", {"weight": 1.3}, 3.5),
    "dare": ("dare_linear", {"weight": 1.0, "density": 0.1}, 6),
    "ties": ("ties", {"weight": 1.0, "density": 0.2}, 18),
}
GRIDS: dict[str, tuple[str, list[Options]]] = {
    "expo-4": ("expo", [{"alpha": alpha} for alpha in (-0.5, 0.1, 0.3, 0.5)]),
    "dare-4": ("dare", [{"drop_rate": rate} for rate in (0.3, 0.5, 0.7, 0.9)]),
}
COPIED = "method, copy s, CPU, start-up s, CPU, all s, CPU, peak MiB, (all - start-up) / copy s"
MERGED = "method, our CPU s, mergekit's CPU s, of these start-up, CPU ratio, peak ratio"
PASSES = "variants, one pass s, four passes s, one / four"
RANKS = "route, wall s, error above the best, time / fastest exact one of torch's"
EXACT = 1e-3  # error of a truncation above the best, in parts of it
ROUTES = ("svd float32", "gram + eigh float64", "gram + eigh float32", "low_rank")
NAMES = (*METHODS, *GRIDS, "low_rank")


# --- what runs in a process of its own ------------------------------------------------------------


def make_pair(folder: str, size: str) -> None:
    """Write a pair tensor by tensor: random weights, and random deltas."""
    import torch
    from huggingface_hub import split_torch_state_dict_into_shards
    from transformers import LlamaConfig, LlamaForCausalLM

    from deltaedit.checkpoints import TensorInfo, write_tensors

    words = "hidden_size intermediate_size vocab_size num_key_value_heads num_hidden_layers".split()
    options = dict(zip(words, SIZES[size], strict=True))
    options |= {"num_key_value_heads": options["num_key_value_heads"] // 64}
    options["architectures"] = ["LlamaForCausalLM"]  # mergekit asks for it
    config = LlamaConfig(**options, num_attention_heads=options["hidden_size"] // 64)
    with torch.device("meta"):
        tensors = LlamaForCausalLM(config).bfloat16().state_dict()
    shards = split_torch_state_dict_into_shards(tensors, max_shard_size="500MB")
    files = {
        file: [(name, TensorInfo(file, "BF16", tuple(tensors[name].shape), 0)) for name in names]
        for file, names in shards.filename_to_tensors.items()
    }

    def make(end: str, name: str) -> torch.Tensor:
        random = torch.Generator().manual_seed(list(tensors).index(name))
        draw = torch.randn(tensors[name].shape, generator=random)
        base = (draw.mul_(0.02) if draw.dim() > 1 else draw.fill_(1)).bfloat16()
        delta = torch.randn(draw.shape, generator=random, out=draw).mul_(5e-4)
        return base if end == "base" else delta.add_(base).bfloat16()

    making = Path(f"{folder}.making")
    for end in ("base", "post"):
        config.save_pretrained(making / end)
        write_tensors(making / end, files, partial(make, end), metadata={})
    making.rename(folder)


def copy(pair: str, out: str, threads: int) -> None:
    """Read base and post and write post, in runs, with threads on different parts."""
    parts, step = [], 64 * CHUNK
    for post in sorted(Path(pair, "post").glob("*.safetensors")):
        ends = [os.open(file, os.O_RDONLY) for file in (Path(pair, "base", post.name), post)]
        target, size = os.open(Path(out, post.name), os.O_WRONLY | os.O_CREAT), post.stat().st_size
        parts += [(*ends, target, at, min(at + step, size)) for at in range(0, size, step)]

    def work(part: tuple[int, ...]) -> None:
        (base, post, target, start, end), buffers = part, (bytearray(CHUNK), bytearray(CHUNK))
        for at in range(start, end, CHUNK):
            one, two = (memoryview(buffer)[: end - at] for buffer in buffers)
            os.preadv(base, [one], at)
            os.preadv(post, [two], at)
            os.pwrite(target, two, at)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, parts))


def edit(pair: str, out: str, threads: int, method: str, grid: Sequence[Options]) -> None:
    """Write variants of all tensors with the project, in one pass."""
    from deltaedit.checkpoints import Checkpoint
    from deltaedit.edit import Sources, write_variants

    some = {"method": method, "tensors": "all", "seed": 0}
    variants = [{"name": f"{i}", "options": options, **some} for i, options in enumerate(grid)]
    folders = [Path(out, variant["name"]) for variant in variants]
    for folder in folders:
        folder.mkdir()
    ends = {end: Checkpoint(Path(pair, end)) for end in ("base", "post")}
    write_variants(Sources(**ends), variants, folders, {"pair": "synthetic"}, threads=threads)


def merge(pair: str, out: str, threads: int, program: str, method: str, options: Options) -> None:
    """Become mergekit, at its best settings."""
    config = {"merge_method": method, "base_model": f"{pair}/base", "dtype": "bfloat16"}
    config |= {"models": [{"model": f"{pair}/post", "parameters": options}]}
    (file := Path(out, "config.yaml")).write_text(json.dumps(config))  # JSON is YAML
    os.execv(program, [program, str(file), out, "--out-shard-size", "500M"])


def decompose(side: int) -> None:
    """Print each route's seconds, and how far its worst truncation is above the least error."""
    import torch

    from deltaedit.edits import low_rank

    # Singular values fall over four decades, as those of a delta may: not every route is exact.
    matrix = torch.randn(side, side, generator=torch.Generator().manual_seed(0)) * 5e-4
    matrix *= torch.logspace(0, -4, side)
    ranks = [side - side * n // 10 for n in range(9, 0, -1)]  # sparsity 0.9 ... 0.1
    squares = torch.linalg.eigvalsh((exact := matrix.double()) @ exact.T)  # ascending
    for route in ROUTES:
        start = time.perf_counter()
        if route == "low_rank":
            factors = low_rank.Factors(matrix)
            left, right = factors.left, factors.right
            for rank in ranks:
                factors.truncated(rank)
        elif route.startswith("svd"):
            left, values, right = torch.linalg.svd(matrix, full_matrices=False)
            right *= values[:, None]
        else:
            wide = matrix.to(getattr(torch, route.split()[-1]))
            left = torch.linalg.eigh(wide @ wide.T).eigenvectors.flip(1).float()
            right = left.T @ matrix
        wall, best = time.perf_counter() - start, (squares[: side - r].sum().sqrt() for r in ranks)
        errors = ((exact - left[:, :rank] @ right[:rank]).norm() for rank in ranks)
        excess = max(float(e / b - 1) for e, b in zip(errors, best, strict=True))
        print(json.dumps([route, wall, excess]))


# --- measuring and telling ------------------------------------------------------------------------


class Measured(NamedTuple):
    """What a process took, seen from outside."""

    wall: float  # seconds
    cpu: float  # seconds, user and system
    peak: float  # MiB of memory, mapped files included
    said: str


def run(task: Task, **arguments: Any) -> Measured:
    """Run a function of a file such as this one in a process of its own."""
    command = [sys.executable, task.__code__.co_filename, task.__name__, json.dumps(arguments)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        said = child.stdout.read() if child.stdout else ""
        _, status, used = os.wait4(child.pid, 0)
        wall, cpu = time.perf_counter() - start, used.ru_utime + used.ru_stime
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"failed: {' '.join(command)}")
    return Measured(wall, cpu, used.ru_maxrss / 1024, said)


def write(args: Any, task: Task, size: str, models: int = 1, **more: Any) -> Measured:
    """Measure a task that writes models from a pair, in memory that was touched just before."""
    pair = args.folder / f"pair-{size}"
    if not pair.exists():
        run(make_pair, folder=str(pair), size=size)
    with tempfile.TemporaryDirectory(dir=args.folder) as out:
        with tempfile.TemporaryFile(dir=out) as file:  # or that the host gives memory is timed too
            for _ in range(models * sum(f.stat().st_size for f in pair.glob("post/*")) >> 20):
                file.write(bytes(1 << 20))
        return run(task, pair=str(pair), out=out, threads=args.threads, **more)


def rows(args: Any, name: str) -> Iterator[tuple[str, str, list[Cell]]]:
    """Measure what `name` stands for, next to its rivals; yield table, label and cells."""
    if name in METHODS:
        method, options, bound = METHODS[name]
        ours = {"task": edit, "method": method, "grid": [options]}
        zero, start = write(args, copy, "tiny"), write(args, size="tiny", **ours)
        copied, took = write(args, copy, args.size), write(args, size=args.size, **ours)
        ratio = (took.wall - start.wall) / (copied.wall - zero.wall), "most", bound
        yield COPIED, name, [*copied[:2], *start[:2], *took[:2], (took.peak, "most", 600), ratio]
        if args.mergekit and name in MERGEKIT:
            method, options, bound = MERGEKIT[name]
            theirs = {"program": args.mergekit, "method": method, "options": options}
            start, them = (write(args, merge, size, **theirs) for size in ("tiny", args.size))
            cells = [took.cpu, them.cpu, start.cpu, (them.cpu / took.cpu, "least", bound)]
            yield MERGED, name, [*cells, (them.peak / took.peak, "least", 4)]
    elif name in GRIDS:
        (method, grid), size = GRIDS[name], args.variants_size or args.size
        start = write(args, edit, "tiny", method=method, grid=grid[:1]).wall
        one, *four = (
            write(args, edit, size, len(some), method=method, grid=some).wall - start
            for some in (grid, *([options] for options in grid))
        )
        yield PASSES, name, [one, sum(four), (one / sum(four), "most", 0.7)]
    else:
        side = 256 if args.size == "tiny" else 4096
        found = list(map(json.loads, run(decompose, side=side).said.splitlines()))
        fastest = min(wall for _, wall, excess in found[:-1] if excess < EXACT)
        for route, wall, excess in found:
            yield RANKS, route, [wall, excess, (wall / fastest, "most", 1.2)]


def shown(cell: Sequence[Cell]) -> str:
    """Return the median over rounds; of a figure with a target also its range and the verdict."""
    if isinstance(cell[0], float):
        return f"{median(cell):.3g}"
    (_, at, bound), values = cell[0], [value for value, *_ in cell]
    met = "met" if (median(values) <= bound) == (at == "most") else "not met"
    spread = f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})"
    return f"{spread}, at {at} {bound}: {met}"


def facts(mergekit: str | None) -> str:
    """Return what the numbers depend on."""
    ask = "import sys, importlib.metadata as m; [print(p, m.version(p)) for p in sys.argv[1:]]"
    commands = [[sys.executable, "-c", ask, "numpy", "numba", "torch"]]
    if mergekit:
        commands.append([str(Path(mergekit).with_name("python")), "-c", ask, "mergekit", "torch"])
    commands.append(["git", "-C", str(ROOT), "describe", "--always", "--dirty"])
    said = [subprocess.check_output(command, text=True).splitlines() for command in commands]
    cpu = re.findall("model name.*: (.*)", Path("/proc/cpuinfo").read_text())
    said.append([f"{len(cpu)} x {cpu[0]}", f"load {os.getloadavg()[0]:.1f} at the start"])
    return "; ".join(map(", ".join, said))


def main() -> None:
    tasks = {task.__name__: task for task in (make_pair, copy, edit, merge, decompose)}
    if sys.argv[1:2] and sys.argv[1] in tasks:
        return tasks[sys.argv[1]](**json.loads(sys.argv[2]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="1.1B")
    parser.add_argument("--variants-size", choices=SIZES, help="of the pair for four variants")
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/deltaedit"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mergekit", metavar="PATH", help="the program mergekit-yaml")
    parser.add_argument("--only", default=",".join(NAMES), help="some of %(default)s")
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": f"{args.threads}", "OMP_WAIT_POLICY": "PASSIVE"}
    os.environ["PYTHONPATH"] = str(ROOT / "workflow/scripts")
    names = args.only.split(",")
    for method in {name.split("-")[0] for name in names} - {"low_rank"}:
        write(args, edit, "tiny", method=method, grid=[METHODS[method][1]])  # compiles
    print(f"`python {' '.join(sys.argv)}`\n\n{facts(args.mergekit)}")
    tell(row for name in names * args.runs for row in rows(args, name))


def tell(rounds: Iterable[tuple[str, str, list[Cell]]]) -> None:
    """Print a table for each head, with a row for each label."""
    tables: dict[str, dict[str, list[Any]]] = {}
    for head, label, cells in rounds:
        tables.setdefault(head, {}).setdefault(label, []).append(cells)
    for head, lines in tables.items():
        print(f"\n| {head.replace(', ', ' | ')} |\n|{' --- |' * (head.count(',') + 1)}")
        for label, found in lines.items():
            print("|", " | ".join([label, *map(shown, zip(*found, strict=True))]), "|")


if __name__ == "__main__":
    main()
