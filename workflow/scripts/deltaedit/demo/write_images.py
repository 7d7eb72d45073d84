"""Write the pictures of the vision world as data sets that any Hugging Face tool reads."""

from pathlib import Path

from datasets import ClassLabel, Dataset, Features
from datasets import Image as Picture
from PIL import Image

from deltaedit.demo import vision


def write_images(task: str, split: str, path: Path) -> None:
    """Write a split as Parquet with the columns `image`, in PNG, and `label`, with names."""
    pictures, labels = vision.images(task, split)
    names = vision.TASKS[task].classnames
    features = Features({"image": Picture(), "label": ClassLabel(names=names)})
    columns = {"image": [Image.fromarray(picture) for picture in pictures], "label": labels}
    Dataset.from_dict(columns, features=features).to_parquet(path)
