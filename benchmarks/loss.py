"""Time and weigh the loss approximation against plain passes of the same model.

    python benchmarks/loss.py --size 134M --folder /dev/shm/deltaedit --runs 5 > table.md

Makes (once) the synthetic bfloat16 pair of `edit.py` in the folder, and a variant of it by dare.
The loss is next-token cross-entropy on random tokens, of which the second half is predicted. Every
ratio is of two runs one after the other; medians and ranges are over the rounds. On a GPU if there
is one, whose memory is then what is weighed. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

# No package is imported above: a child's peak memory is never below what its parent had.
sys.path.insert(0, str(Path(__file__).parent))

import edit as edit_benchmark

Cell = edit_benchmark.Cell
MIB = 1 << 20
DARE = {"method": "dare", "grid": [{"drop_rate": 0.5}]}
NODES = (0.2, 0.4, 0.6, 0.8)  # of the left rule with C = 5, beside 0
TIMES = "batches, node s, passes s, node / passes, node CPU s, passes CPU s, CPU ratio"
PEAKS = "way, weights MiB, and activations MiB, node MiB, node / weights and activations"
SWEEPS = "variants, every node s, c = 0 shared s, shared / every, by counting nodes"
WAYS = {"ours": 1.3, "gradients kept": None, "gradients, post and step kept": None}  # at most


# --- what runs in a process of its own ------------------------------------------------------------


class Work:
    """A model, its loss and the path to the variant; and what a node does in different ways."""

    def __init__(self, pair: str, batches: int, rows: int, tokens: int) -> None:
        import torch

        from deltaedit import loss_change, models
        from deltaedit.checkpoints import Checkpoint

        self.started = _memory()
        plain = {"autocast": None, "gradient_checkpointing": False}
        self.model = models.load_for_loss(Path(pair, "post"), plain)
        post, edited = Checkpoint(Path(pair, "post")), Checkpoint(Path(pair, "variant", "0"))
        self.segment = loss_change.Segment(self.model, post, edited)
        self.loss = _loss(batches, rows, tokens, self.model.config.vocab_size)
        self.torch, self.loss_change = torch, loss_change

    def ours(self, t: float) -> float:
        self.segment.move_to(t)
        by_batch = self.loss_change.slopes(self.model, self.loss, self.segment.step)
        return sum(map(sum, by_batch.values()))

    def plain(self) -> None:
        """Forward and backward, as in training: gradients add up in their places."""
        self.model.zero_grad(set_to_none=False)
        for weight, part in self.loss:
            (weight * part(self.model)).backward()

    def naive(self, t: float, post: dict[str, Any] | None, step: dict[str, Any] | None) -> float:
        """Return the slope with all gradients kept, and post and step where given."""
        if post is None or step is None:
            self.segment.move_to(t)
        else:
            with self.torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    parameter.copy_(post[name] + t * step[name])
        self.plain()
        found = 0.0
        for name, parameter in self.model.named_parameters():
            along = self.segment.step(name) if step is None else step[name]
            found += (parameter.grad * along).sum().item()
        return found


def _loss(batches: int, rows: int, tokens: int, vocabulary: int) -> list[tuple[float, Any]]:
    import torch

    from deltaedit.losses import next_token
    from deltaedit.losses._answers import IGNORED, Answer

    draw = torch.Generator().manual_seed(0)
    padding = type("Tokenizer", (), {"pad_token_id": 0})()
    half, loss = tokens // 2, []
    for _ in range(batches):
        ids = torch.randint(vocabulary, (rows, tokens), generator=draw).tolist()
        answers = [Answer(each, [IGNORED] * half + each[half:]) for each in ids]
        mean = next_token._mean_loss(answers, padding, "token", rows * (tokens - half))
        loss.append((1 / batches, mean))
    return loss


def _on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _now() -> tuple[float, float]:
    """Return seconds of the clock, and of the processor that this process took."""
    import time

    import torch

    if _on_gpu():
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def _memory() -> float:
    """Return the MiB in use: of the GPU's memory, or of this process without mapped files."""
    import torch

    if _on_gpu():
        return torch.cuda.memory_allocated() / MIB
    return _status("RssAnon")


def _status(key: str) -> float:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(key))
    return int(line.split()[1]) / 1024


def _peak(work: Callable[[], Any]) -> float:
    """Return the greatest `_memory()` while `work` runs, in MiB."""
    import gc

    import torch

    gc.collect()
    if _on_gpu():
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() / MIB
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    files = _status("RssFile")
    work()
    return _status("VmHWM") - files


def pace(**options: Any) -> None:
    """Print the seconds of a node, ours and plain, in turn."""
    work = Work(**options)
    work.ours(0.5)
    for i, t in enumerate(NODES):
        spent = {}
        for way in ("plain", "ours") if i % 2 else ("ours", "plain"):
            work.model.zero_grad(set_to_none=True)
            start = _now()
            work.ours(t) if way == "ours" else work.plain()
            spent[way] = [x - y for x, y in zip(_now(), start, strict=True)]
        print(json.dumps(list(zip(spent["ours"], spent["plain"], strict=True))))


def weigh(way: str, **options: Any) -> None:
    """Print the MiB of the weights, and the peak beyond imports of a node or a forward pass."""
    work = Work(**options)
    weights = sum(p.nbytes for p in work.model.parameters()) / MIB
    if way == "forward":
        node = partial(_forward, work)
    elif way == "ours":
        node = partial(work.ours, 0.5)
    elif way == "gradients kept":
        node = partial(work.naive, 0.5, None, None)
    else:
        segment, names = work.segment, [name for name, _ in work.model.named_parameters()]
        post = {n: segment.post.tensor(n).float().to(work.model.device) for n in names}
        node = partial(work.naive, 0.5, post, {n: segment.step(n) for n in names})
    print(json.dumps([weights, _peak(node) - work.started]))


def _forward(work: Work) -> None:
    """Compute the loss of one batch, with all that backward would need."""
    weight, part = work.loss[0]
    kept = weight * part(work.model)
    del kept


def sweep(variants: int, folder: str, **options: Any) -> None:
    """Print the seconds of a sweep's nodes, each walked, and with the gradient at 0 shared."""
    from safetensors.torch import save_file

    work = Work(**options)
    work.ours(0.5)
    start = _now()[0]
    for _ in range(variants):
        for t in (0.0, *NODES):
            work.ours(t)
    every = _now()[0] - start
    start = _now()[0]
    work.segment.move_to(0.0)
    losses, gradient = work.loss_change.gradient(work.model, work.loss)
    save_file(gradient, Path(folder, "gradient.safetensors"))
    Path(folder, "loss.json").write_text(json.dumps({"losses_post": losses}))
    shared = work.loss_change.Start(Path(folder))
    for _ in range(variants):
        shared.slopes(work.segment)
        for t in NODES:
            work.ours(t)
    print(json.dumps([every, _now()[0] - start]))


# --- measuring and telling ------------------------------------------------------------------------


def rows(args: Any) -> Iterator[tuple[str, str, list[Cell]]]:
    """Measure once; yield table, label and cells."""
    shape = {"rows": args.rows, "tokens": args.tokens, "batches": args.batches}
    options = {"pair": str(args.folder / f"pair-{args.size}"), **shape}
    said = edit_benchmark.run(pace, **options).said
    for spent in map(json.loads, said.splitlines()):
        cells: list[Cell] = []
        for ours, plain in spent:
            cells += [ours, plain, (ours / plain, "most", 1.1)]
        yield TIMES, f"{args.batches} x {args.rows} x {args.tokens}", cells
    options["batches"] = 2  # at the second all gradients of the first are there, if they are kept
    weights, forward = json.loads(edit_benchmark.run(weigh, way="forward", **options).said)
    for way, bound in WAYS.items():
        _, peak = json.loads(edit_benchmark.run(weigh, way=way, **options).said)
        ratio: Cell = (peak / forward, "most", bound) if bound else peak / forward
        yield PEAKS, way, [weights, forward, peak, ratio]
    small = {**options, "pair": str(args.folder / f"pair-{args.sweep_size}")}
    for n in map(int, args.variants.split(",")):
        with edit_benchmark.tempfile.TemporaryDirectory(dir=args.folder) as folder:
            said = edit_benchmark.run(sweep, variants=n, folder=folder, **small).said
        every, shared = json.loads(said)
        yield SWEEPS, f"{n}", [every, shared, shared / every, (1 + 4 * n) / (5 * n)]


def make(args: Any, size: str) -> None:
    """Make a pair and its variant, unless they are there."""
    pair = args.folder / f"pair-{size}"
    if not pair.exists():
        edit_benchmark.run(edit_benchmark.make_pair, folder=str(pair), size=size)
    if not (out := pair / "variant").exists():
        out.mkdir()
        written = {"pair": str(pair), "out": str(out), "threads": args.threads}
        edit_benchmark.run(edit_benchmark.edit, **written, **DARE)


def main() -> None:
    tasks = {task.__name__: task for task in (pace, weigh, sweep)}
    if sys.argv[1:2] and sys.argv[1] in tasks:
        return tasks[sys.argv[1]](**json.loads(sys.argv[2]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=edit_benchmark.SIZES, default="134M")
    parser.add_argument("--sweep-size", choices=edit_benchmark.SIZES, default="tiny")
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/deltaedit"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--variants", default="1,4,16", help="of sweeps, %(default)s")
    parser.add_argument("--batches", type=int, default=1, help="per node")
    parser.add_argument("--rows", type=int, default=8, help="sequences per batch")
    parser.add_argument("--tokens", type=int, default=128, help="per sequence")
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": f"{args.threads}", "OMP_WAIT_POLICY": "PASSIVE"}
    os.environ["PYTHONPATH"] = str(edit_benchmark.ROOT / "workflow/scripts")
    args.folder.mkdir(parents=True, exist_ok=True)
    for size in {args.size, args.sweep_size}:
        make(args, size)
    print(f"`python {' '.join(sys.argv)}`\n\n{edit_benchmark.facts(None)}")
    edit_benchmark.tell(row for _ in range(args.runs) for row in rows(args))


if __name__ == "__main__":
    main()
