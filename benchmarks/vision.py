"""Time the evaluation of image models against bare forward passes, and slices against processes.

    python benchmarks/vision.py --folder /dev/shm/deltaedit --runs 5 > table.md

Makes (once) an untrained CLIP of each size with prepared pictures of noise in the folder, and for
the demo's size a slice of copies of the model with noise on top. Images per second are of one
evaluation, without its loading of the model, and of image features times head on the same
normalised pictures in memory, in turn in one process. A slice is evaluated by one process as
`evaluate_images.py` does it, with nothing kept; the processes that evaluate one variant each are
some of them, whose mean stands for all. Both include imports. On a GPU if there is one. Prints
Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# No package is imported above: the time of imports is measured too.
sys.path.insert(0, str(Path(__file__).parent))

import edit as edit_benchmark

Cell = edit_benchmark.Cell
TASK = "demo_digits"  # its ten classes; the pictures and the head are noise
SIZES = {"demo": (300, 10), "base": (256, 1)}  # pictures, evaluations per round
PACES = "pictures, load s, images/s, bare images/s, images/s / bare"
SLICES = (
    "variants, one process s, of these imports, of these loads, variants/min,"
    " a process each s, variants/min, ratio of variants/min"
)


# --- what runs in a process of its own ------------------------------------------------------------


def make(folder: str, size: str, pictures: int, variants: int) -> None:
    """Write a model, a head and prepared pictures, and variants of the model if there are any."""
    import torch
    from safetensors.torch import save_file
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel
    from transformers.utils import logging

    from deltaedit import images
    from deltaedit.demo import train_vision

    logging.disable_progress_bar()
    making = Path(f"{folder}.making")
    making.mkdir(parents=True)
    if size == "demo":
        processor = train_vision.make_processor().image_processor
        model = train_vision.make_model(train_vision.make_processor(), seed=0)
    else:
        torch.manual_seed(0)
        processor, model = CLIPImageProcessorPil(), CLIPModel(CLIPConfig())  # ViT-B/32
    head = torch.randn(10, model.config.projection_dim)
    save_file({"head": head}, making / "head.safetensors")
    _draw(making / "noise.parquet", model.config.vision_config.image_size, pictures)
    images.prepare(making / "noise.parquet", processor, 10, making / "images")
    for name in ("post", *(f"variants/{i}" for i in range(variants))):
        model.save_pretrained(making / name)
        processor.save_pretrained(making / name)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=1e-3)
    making.rename(folder)


def _draw(path: Path, side: int, count: int) -> None:
    """Write pictures of noise, with labels in turn."""
    import io

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    rng, stored = np.random.default_rng(0), []
    for _ in range(count):
        pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(file := io.BytesIO(), "PNG", compress_level=0)
        stored.append({"bytes": file.getvalue(), "path": None})
    columns = {"image": stored, "label": [i % 10 for i in range(count)]}
    pq.write_table(pa.table(columns), path, row_group_size=64)


def _suite(batch: int) -> dict[str, Any]:
    return {"tasks": {TASK: {}}, "batch_size": batch, "dtype": "float32", "limit": None}


def _now() -> float:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _clock_loads() -> list[float]:
    """Let each load of a model add its seconds to what is returned."""
    from deltaedit import image_models

    load, spent = image_models.load, []

    def clocked(*args: Any) -> Any:
        start = _now()
        model = load(*args)
        spent.append(_now() - start)
        return model

    image_models.load = clocked
    return spent


def pace(folder: str, batch: int, rounds: int, repeats: int) -> None:
    """Print, for each round, the seconds of a load, of our evaluation and of bare passes."""
    import torch

    from deltaedit import image_evaluation, image_models
    from deltaedit.images import Pictures

    post, head = Path(folder, "post"), Path(folder, "head.safetensors")
    pictures = Pictures(Path(folder, "images"))
    tasks = {TASK: (pictures, image_models.logits(post, "clip", head, 10))}
    model = image_models.load(post, "clip", torch.float32)
    weights = torch.randn(10, model.config.projection_dim, device=image_models.DEVICE)
    pixels = pictures.pixels(0, len(pictures), image_models.DEVICE)
    loads = _clock_loads()

    def ours() -> float:
        start = _now()
        image_evaluation.evaluate(post, "clip", _suite(batch), tasks)
        return _now() - start - loads[-1]

    @torch.inference_mode()
    def bare() -> float:
        start = _now()
        for at in range(0, len(pixels), batch):
            features = model.get_image_features(pixel_values=pixels[at : at + batch])
            features.pooler_output @ weights.T
        return _now() - start

    ours(), bare()
    for _ in range(rounds):
        loads.clear()
        spent: dict[Callable[[], float], float] = {ours: 0, bare: 0}
        for i in range(repeats):
            for way in (ours, bare) if i % 2 else (bare, ours):
                spent[way] += way()
        print(json.dumps([sum(loads) / repeats, spent[ours] / repeats, spent[bare] / repeats]))


def evaluate(folder: str, batch: int, names: list[str]) -> None:
    """Evaluate variants as a job does; print the seconds of imports and of loads."""
    start, made = time.perf_counter(), Path(folder)
    said = os.fdopen(os.dup(1), "w")  # a job's own words go to its log
    with edit_benchmark.tempfile.TemporaryDirectory(dir=folder) as kept:
        job = SimpleNamespace(log=[f"{kept}/log"])
        script = edit_benchmark.ROOT / "workflow/scripts/evaluate_images.py"
        evaluate_images = runpy.run_path(str(script), {"snakemake": job})["evaluate_images"]
        imports, loads = time.perf_counter() - start, _clock_loads()
        edit = {"method": None, "seed": 0, "tensors": "all"}
        rows = evaluate_images(
            [{"name": name, "folder": f"{made / 'variants' / name}", **edit} for name in names],
            {"pair": "noise", "sweep": "noise", "slice": "all", "suite": "digits"},
            "clip",
            _suite(batch),
            f"{made / 'post'}",
            {TASK: (f"{made / 'images'}", f"{made / 'head.safetensors'}")},
            kept,
            {},
        )
    assert len(rows) == len(loads) == len(names)
    print(json.dumps([imports, sum(loads)]), file=said, flush=True)


# --- measuring and telling ------------------------------------------------------------------------


def paces(args: Any, size: str, folder: Path, count: int) -> Iterator[tuple[str, str, list[Cell]]]:
    """Measure images per second; yield table, label and cells of each round."""
    shape = {"rounds": args.runs, "repeats": SIZES[size][1]}
    said = edit_benchmark.run(pace, folder=str(folder), batch=args.batch, **shape).said
    for load, ours, bare in map(json.loads, said.splitlines()):
        pair: list[Cell] = [load, count / ours, count / bare, (bare / ours, "least", 0.9)]
        yield PACES, f"{size}: {count}, {args.batch} at once", pair


def slices(args: Any, folder: Path) -> Iterator[tuple[str, str, list[Cell]]]:
    """Measure variants per minute; yield table, label and cells of each round."""
    shape = {"folder": str(folder), "batch": args.batch}
    names = [f"{i}" for i in range(args.variants)]
    for _ in range(args.runs):
        one = edit_benchmark.run(evaluate, **shape, names=names)
        each = [edit_benchmark.run(evaluate, **shape, names=[n]) for n in names[: args.processes]]
        alone = sum(process.wall for process in each) / len(each)
        paces = 60 * len(names) / one.wall, 60 / alone
        cells = [one.wall, *json.loads(one.said), paces[0], alone, paces[1]]
        yield SLICES, f"{len(names)}", [*cells, (paces[0] / paces[1], "least", 5)]


def rows(args: Any) -> Iterator[tuple[str, str, list[Cell]]]:
    """Make what is missing and measure it; yield table, label and cells."""
    for size in args.size:
        count, variants = args.pictures or SIZES[size][0], args.variants * (size == "demo")
        folder = args.folder / f"vision-{size}-{count}-{variants}"
        if not folder.exists():
            made = {"size": size, "pictures": count, "variants": variants}
            edit_benchmark.run(make, folder=str(folder), **made)
        yield from paces(args, size, folder, count)
        if variants:
            yield from slices(args, folder)


def main() -> None:
    tasks = {task.__name__: task for task in (make, pace, evaluate)}
    if sys.argv[1:2] and sys.argv[1] in tasks:
        return tasks[sys.argv[1]](**json.loads(sys.argv[2]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, nargs="+", default=list(SIZES))
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/deltaedit"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pictures", type=int, help="rather than a size's own number")
    parser.add_argument("--batch", type=int, default=64, help="pictures at once")
    parser.add_argument("--variants", type=int, default=40, help="of the slice")
    parser.add_argument("--processes", type=int, default=4, help="with a variant each, per round")
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": f"{args.threads}", "OMP_WAIT_POLICY": "PASSIVE"}
    os.environ["PYTHONPATH"] = str(edit_benchmark.ROOT / "workflow/scripts")
    args.folder.mkdir(parents=True, exist_ok=True)
    print(f"`python {' '.join(sys.argv)}`\n\n{edit_benchmark.facts(None)}")
    edit_benchmark.tell(rows(args))


if __name__ == "__main__":
    main()
