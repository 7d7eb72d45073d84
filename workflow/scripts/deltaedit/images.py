"""Pictures of an image task, prepared once for all variants of a pair.

What an image processor does to a picture's size is done once and stored in bytes; what it does to
the values (scale, mean, deviation) is left to the reader, who gets what the processor would give.
"""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from deltaedit import digest
from deltaedit.errors import UserError
from deltaedit.files import whole_folder

CHUNK = 64  # pictures that are decoded at once


def prepare(source: Path, processor: Any, classes: int, target: Path) -> None:
    """Resize and crop the pictures of a data set, and store them with their labels.

    Args:
        source: Parquet in the layout of `datasets`, with the columns `image` and `label`.
        processor: the model's own image processor.
        classes: labels count from 0 to below this.
        target: the folder to write, whole or not at all.

    Raises:
        UserError: a picture that cannot be read, a label outside the classes, or no picture.
    """
    rows = pq.ParquetFile(source)
    if not rows.metadata.num_rows:
        raise UserError(f"{source}: holds no picture")
    labels = rows.read(["label"])["label"].to_pylist()
    for row, label in enumerate(labels):
        if label is None or not 0 <= label < classes:
            raise UserError(
                f"{source}, row {row}: label {label}, but the task has {classes} classes; check its"
                " classnames against the data set's"
            )
    with whole_folder(target) as folder:
        stored = None
        for start, pixels in _resized(source, rows, processor):
            if stored is None:
                shape = (len(labels), *pixels.shape[1:])
                stored = np.lib.format.open_memmap(folder / "pixels.npy", "w+", np.uint8, shape)
            stored[start : start + len(pixels)] = pixels
        stored.flush()
        np.save(folder / "labels.npy", np.array(labels))
        values = {
            "pixels": digest.of_files([folder / "pixels.npy"]),
            "scale": processor.rescale_factor if processor.do_rescale else 1.0,
            "mean": list(processor.image_mean) if processor.do_normalize else [0.0],
            "std": list(processor.image_std) if processor.do_normalize else [1.0],
        }
        (folder / "values.json").write_text(json.dumps(values) + "\n")


def _resized(
    source: Path, rows: pq.ParquetFile, processor: Any
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row and the bytes [n, 3, height, width] of each chunk."""
    start = 0
    for batch in rows.iter_batches(CHUNK, columns=["image"]):
        stored = batch.column("image").to_pylist()
        pictures = [_decoded(source, start + i, each) for i, each in enumerate(stored)]
        # The processor's own geometry, and nothing else: bytes stay bytes.
        found = processor(pictures, do_rescale=False, do_normalize=False, return_tensors="np")
        yield start, np.asarray(found["pixel_values"])
        start += len(pictures)


def _decoded(source: Path, row: int, stored: dict[str, Any] | None) -> Image.Image:
    try:
        return Image.open(io.BytesIO(stored["bytes"])).convert("RGB")
    except (OSError, ValueError, TypeError, SyntaxError) as error:  # damaged, odd, or none
        raise UserError(
            f"{source}, row {row}: no picture that can be read ({error}); leave the row out or mend"
            " the file"
        ) from None


class Pictures:
    """Prepared pictures, read from disk as they are asked for.

    Args:
        folder: what `prepare` wrote.
        rows: the pictures meant, all by default.
    """

    def __init__(self, folder: str | Path, rows: np.ndarray | None = None) -> None:
        self.folder = Path(folder)
        self._pixels = np.load(self.folder / "pixels.npy", mmap_mode="r")
        labels = np.load(self.folder / "labels.npy")
        self._rows = np.arange(len(labels)) if rows is None else rows
        self.labels = torch.from_numpy(labels[self._rows])
        values = json.loads((self.folder / "values.json").read_text())
        self._scale = values["scale"]
        self._mean, self._std = (
            torch.tensor(values[name]).view(1, -1, 1, 1) for name in ("mean", "std")
        )

    @staticmethod
    def identity(folder: Path) -> list[Path]:
        """List the small files that say which pictures a folder holds, and how prepared."""
        return [folder / "values.json", folder / "labels.npy"]

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, rows: Sequence[int]) -> "Pictures":
        """Return some of these pictures, by their numbers."""
        return Pictures(self.folder, self._rows[list(rows)])

    def pixels(self, start: int, stop: int, device: str | torch.device = "cpu") -> Tensor:
        """Return what the processor gives for pictures `start` to `stop`: [n, 3, h, w], float32."""
        stored = torch.from_numpy(self._pixels[self._rows[start:stop]]).to(device)
        mean, std = self._mean.to(device), self._std.to(device)
        return stored.float().mul_(self._scale).sub_(mean).div_(std)
