"""The vision world of the demo: pictures with captions for pretraining, and its tasks.

Two tasks stand for the eight of the paper. `digits` (MNIST) is real: the handwriting that
scikit-learn ships, of which pretraining sees no picture. `signs` (GTSRB) is generated: tilted,
off-centre, dim and mostly before photographs, with a mark that tells classes apart, where
pretraining shows clean signs and its captions pass over the mark. The tasks' pictures are the same
whatever the seed of a study, and those of a test are never trained on.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from deltaedit.image_tasks import ImageTask

Rng = np.random.Generator

SEED = 4321  # of the tasks' pictures
SIZE = 32  # pixels per side
SPLITS = {"train": 3000, "test": 300}  # pictures; of digits, only 1497 are left to train on
LONGEST = 16  # tokens of a caption at most, <s> and </s> among them

COLORS = {
    "red": (0.8, 0.1, 0.1),
    "blue": (0.1, 0.2, 0.8),
    "yellow": (0.9, 0.8, 0.1),
    "green": (0.1, 0.6, 0.2),
    "white": (1.0, 1.0, 1.0),
    "black": (0.0, 0.0, 0.0),
    "orange": (0.9, 0.5, 0.1),
    "purple": (0.6, 0.2, 0.7),
}
SHAPES = "circle triangle square diamond ring bar cross".split()
BOARDS = "circle triangle square diamond".split()  # the shapes that signs have
MARKS = "bar cross".split()  # what is painted on them
HALVES = "left right top bottom".split()
DIGITS = "zero one two three four five six seven eight nine".split()
SIGNS = [
    (color, shape, mark)
    for color in ("red", "blue", "yellow")
    for shape in ("circle", "triangle", "square")
    for mark in MARKS
]
SPECIAL = ["<pad>", "<s>", "<unk>", "</s>"]  # CLIP reads elsewhere than at </s> if its id is 2
GRAMMAR = "a photo of the digit sign with area on strokes".split()  # the other words of captions


def vocabulary() -> list[str]:
    """List every word of the world once; a word's place is its token id."""
    words = [*SPECIAL, *GRAMMAR, *COLORS, *SHAPES, *BOARDS, *MARKS, *HALVES, *DIGITS]
    return list(dict.fromkeys(words))


# --- drawing: a picture is an array [SIZE, SIZE, 3] of light from 0 to 1 --------------------------


def distance(shape: str, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Return how far each point (x, y) lies outside a shape around the origin; inside is < 0."""
    match shape:
        case "circle":
            return np.hypot(x, y) - radius
        case "ring":
            return np.abs(np.hypot(x, y) - 0.8 * radius) - 0.2 * radius
        case "square":
            return np.maximum(np.abs(x), np.abs(y)) - 0.85 * radius
        case "diamond":
            return (np.abs(x) + np.abs(y) - 1.1 * radius) / np.sqrt(2)
        case "triangle":
            return np.maximum(y - 0.7 * radius, 0.87 * np.abs(x) - 0.5 * y - 0.5 * radius)
        case "bar":
            return np.maximum(np.abs(x) - radius, np.abs(y) - 0.3 * radius)
        case "cross":
            return np.minimum(distance("bar", x, y, radius), distance("bar", y, x, radius))
    raise ValueError(shape)


def paint(
    picture: np.ndarray,
    shape: str,
    color: tuple[float, ...],
    radius: float,
    centre: tuple[float, float] = (SIZE / 2, SIZE / 2),
    tilt: float = 0.0,
) -> np.ndarray:
    """Paint a shape over a picture, its edge a pixel wide; `tilt` in radians."""
    row, column = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    x, y = column - centre[0], row - centre[1]
    cos, sin = np.cos(tilt), np.sin(tilt)
    outside = distance(shape, cos * x + sin * y, cos * y - sin * x, radius)
    covered = np.clip(0.5 - outside, 0, 1)[..., None]
    return covered * np.asarray(color) + (1 - covered) * picture


def finish(picture: np.ndarray, rng: Rng, noise: float) -> np.ndarray:
    """Add at most `noise` and round to bytes."""
    grain = rng.normal(0, rng.uniform(0, noise), picture.shape)
    return np.round(255 * np.clip(picture + grain, 0, 1)).astype(np.uint8)


@cache
def photographs() -> list[np.ndarray]:
    """Return the two photographs that scikit-learn ships."""
    return [image / 255 for image in load_sample_images().images]


def background(rng: Rng, photograph: float = 0.4) -> np.ndarray:
    """Cut a patch of a photograph, or, else, blend two colors from side to side."""
    if rng.random() < photograph:
        image = photographs()[rng.integers(2)]
        step = int(rng.integers(1, 5))
        top, left = (rng.integers(side - SIZE * step) for side in image.shape[:2])
        return image[top : top + SIZE * step : step, left : left + SIZE * step : step]
    ramp = np.linspace(0, 1, SIZE)[:, None, None]
    blend = ramp * rng.random(3) + (1 - ramp) * rng.random(3)
    return np.broadcast_to(blend if rng.random() < 0.5 else blend.swapaxes(0, 1), (SIZE, SIZE, 3))


# --- pretraining: pictures with captions ----------------------------------------------------------


def figure(rng: Rng) -> tuple[np.ndarray, str]:
    color, shape = rng.choice(list(COLORS)), rng.choice(SHAPES)
    centre, radius, tilt = rng.uniform(11, 21, 2), rng.uniform(6, 12), rng.uniform(-0.4, 0.4)
    picture = paint(background(rng), shape, COLORS[color], radius, tuple(centre), tilt)
    return finish(picture, rng, 0.06), f"a photo of a {color} {shape}"


def clean_sign(rng: Rng) -> tuple[np.ndarray, str]:
    color, other = rng.choice(list(COLORS), 2, replace=False)
    shape, mark = rng.choice(BOARDS), rng.choice(MARKS)
    picture = paint(background(rng), shape, COLORS[color], 13)
    picture = paint(picture, mark, COLORS[other], 6)
    return finish(picture, rng, 0.06), f"a photo of a {color} {shape} sign"


def area(rng: Rng) -> tuple[np.ndarray, str]:
    color, half = rng.choice(list(COLORS)), rng.choice(HALVES)
    picture, middle = background(rng).copy(), SIZE // 2
    rows = {"top": slice(middle), "bottom": slice(middle, None)}.get(half, slice(None))
    columns = {"left": slice(middle), "right": slice(middle, None)}.get(half, slice(None))
    picture[rows, columns] = COLORS[color]
    return finish(picture, rng, 0.06), f"a photo of a {color} area on the {half}"


def strokes(rng: Rng) -> tuple[np.ndarray, str]:
    picture = np.zeros((SIZE, SIZE, 3))
    for _ in range(rng.integers(1, 4)):
        centre, length, tilt = rng.uniform(10, 22, 2), rng.uniform(4, 10), rng.uniform(0, np.pi)
        picture = paint(picture, "bar", COLORS["white"], length, tuple(centre), tilt)
    return finish(picture, rng, 0.06), "a photo of strokes"


PRETRAINING: dict[Callable[[Rng], tuple[np.ndarray, str]], float] = {  # picture -> its share
    figure: 0.45,
    clean_sign: 0.3,
    area: 0.1,
    strokes: 0.15,
}


def captioned(count: int, rng: Rng) -> tuple[np.ndarray, list[str]]:
    """Draw pictures [count, SIZE, SIZE, 3] of the pretraining mixture, and their captions."""
    kinds = rng.choice(len(PRETRAINING), count, p=list(PRETRAINING.values()))
    makers = list(PRETRAINING)
    pictures, captions = zip(*(makers[kind](rng) for kind in kinds), strict=True)
    return np.stack(pictures), list(captions)


# --- the tasks ------------------------------------------------------------------------------------


def _task(name: str, classnames: list[str], template: str) -> ImageTask:
    files = {split: f"resources/demo/vision/data/{name}/{split}.parquet" for split in SPLITS}
    return ImageTask(classnames=classnames, templates=[template], files=files)


TASKS = {
    "digits": _task("digits", DIGITS, "a photo of the digit {c}"),
    "signs": _task(
        "signs",
        [f"{color} {shape} sign with {mark}" for color, shape, mark in SIGNS],
        "a photo of a {c}",
    ),
}


def street_sign(rng: Rng) -> tuple[np.ndarray, int]:
    label = int(rng.integers(len(SIGNS)))
    color, shape, mark = SIGNS[label]
    centre, radius = tuple(rng.uniform(14, 18, 2)), rng.uniform(10, 14)
    tilt = rng.uniform(-0.25, 0.25)
    picture = paint(background(rng, photograph=0.7), shape, COLORS[color], radius, centre, tilt)
    picture = paint(picture, mark, COLORS["white"], 0.6 * radius, centre, tilt)
    return finish(picture * rng.uniform(0.6, 1), rng, 0.06), label


def handwriting() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits, 8 x 8, enlarged threefold on black."""
    digits = load_digits()
    pictures = np.zeros((len(digits.images), SIZE, SIZE, 3), np.uint8)
    for picture, small in zip(pictures, digits.images, strict=True):
        image = Image.fromarray(np.round(small * 255 / 16).astype(np.uint8))
        large = image.resize((24, 24), Image.Resampling.BILINEAR)
        picture[4:28, 4:28] = np.asarray(large)[..., None]
    return pictures, digits.target


def images(task: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the pictures [n, SIZE, SIZE, 3], bytes, of a task's split, and their labels [n]."""
    rng = np.random.default_rng([SEED, list(SPLITS).index(split)])
    if task == "signs":
        pictures, labels = zip(*(street_sign(rng) for _ in range(SPLITS[split])), strict=True)
        return np.stack(pictures), np.array(labels)
    pictures, labels = handwriting()
    order = np.random.default_rng(SEED).permutation(len(labels))
    chosen = order[: SPLITS["test"]] if split == "test" else order[SPLITS["test"] :]
    return pictures[chosen], labels[chosen]
