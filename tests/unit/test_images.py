"""Pictures, prepared once, are what the processor gives; models are measured by them."""

import io
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import ClassLabel, Dataset, Features
from datasets import Image as Picture
from PIL import Image
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from transformers import (
    AutoImageProcessor,
    CLIPImageProcessorPil,
    CLIPModel,
    ViTConfig,
    ViTForImageClassification,
)

from deltaedit import (
    digest,
    image_evaluation,
    image_models,
    image_tasks,
    images,
    logs,
    losses,
    memo,
    models,
    zero_shot,
)
from deltaedit.demo import train_vision, vision
from deltaedit.errors import UserError

DIGITS = image_tasks.load("demo_digits")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The folder of an untrained CLIP of the demo's kind."""
    folder = tmp_path_factory.mktemp("clip")
    processor = train_vision.make_processor()
    train_vision.make_model(processor, seed=0).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """The folder of an untrained ViT with a head for ten classes."""
    folder = tmp_path_factory.mktemp("vit")
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    shape = {"num_attention_heads": 2, "image_size": vision.SIZE, "patch_size": 8}
    ViTForImageClassification(ViTConfig(**small, **shape, num_labels=10)).save_pretrained(folder)
    train_vision.make_processor().image_processor.save_pretrained(folder)
    return folder


def parquet(path, pictures, labels, classes=10):
    features = Features({"image": Picture(), "label": ClassLabel(num_classes=classes)})
    columns = {"image": pictures, "label": labels}
    Dataset.from_dict(columns, features=features).to_parquet(path)
    return path


def drawn(count, size=(40, 32), seed=0):
    """Draw pictures of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, *size[::-1], 3), np.uint8)
    return [Image.fromarray(each) for each in pixels]


@pytest.fixture
def prepared(tmp_path, clip):
    """Prepared pictures of noise, seventy of them, so that there are two chunks."""
    source = parquet(tmp_path / "a.parquet", drawn(70), [i % 10 for i in range(70)])
    images.prepare(source, AutoImageProcessor.from_pretrained(clip), 10, tmp_path / "images")
    return images.Pictures(tmp_path / "images")


PROCESSORS = {
    "cropped": {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}},
    "squeezed": {"size": {"height": 24, "width": 24}, "do_center_crop": False},
    "as bytes": {
        "size": {"shortest_edge": 24},
        "crop_size": {"height": 24, "width": 24},
        "do_normalize": False,
    },
}


@pytest.mark.parametrize("options", PROCESSORS.values(), ids=PROCESSORS)
def test_prepared_pictures_are_what_the_processor_gives(tmp_path, options):
    processor = CLIPImageProcessorPil(**options)
    pictures = [*drawn(66), Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32))]
    source = parquet(tmp_path / "a.parquet", pictures, [3] * 67)
    images.prepare(source, processor, 10, tmp_path / "images")
    found = images.Pictures(tmp_path / "images")
    wanted = processor([p.convert("RGB") for p in pictures], return_tensors="pt").pixel_values
    assert found.pixels(0, 67).dtype == torch.float32
    torch.testing.assert_close(found.pixels(0, 67), wanted, rtol=0, atol=2e-6)
    torch.testing.assert_close(found.pixels(64, 67), wanted[64:], rtol=0, atol=2e-6)
    assert found.labels.tolist() == [3] * 67


def test_some_pictures_are_those_asked_for(prepared):
    some = prepared.take([69, 3, 4]).take([0, 2])
    assert len(some) == 2
    assert some.labels.tolist() == [9, 4]
    torch.testing.assert_close(some.pixels(0, 1), prepared.pixels(69, 70))
    torch.testing.assert_close(some.pixels(1, 2), prepared.pixels(4, 5))


@pytest.mark.parametrize("label", [10, -1, None])
def test_a_label_outside_the_classes_is_refused(tmp_path, clip, label):
    features = Features({"image": Picture(), "label": Dataset.from_dict({"a": [1]}).features["a"]})
    rows = {"image": drawn(3), "label": [0, label, 1]}
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    processor = AutoImageProcessor.from_pretrained(clip)
    with pytest.raises(UserError, match=rf"a\.parquet, row 1: label {label}, but the task has 10"):
        images.prepare(tmp_path / "a.parquet", processor, 10, tmp_path / "images")
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize("content", [b"no picture", None], ids=["damaged", "missing"])
def test_a_picture_that_cannot_be_read_is_refused(tmp_path, clip, content):
    good = io.BytesIO()
    drawn(1)[0].save(good, "PNG")
    stored = [good.getvalue(), content and good.getvalue()[:60] + content]
    rows = pa.table({"image": [{"bytes": each} for each in stored], "label": [0, 1]})
    pq.write_table(rows, tmp_path / "a.parquet")
    processor = AutoImageProcessor.from_pretrained(clip)
    with pytest.raises(UserError, match=r"a\.parquet, row 1: no picture that can be read"):
        images.prepare(tmp_path / "a.parquet", processor, 10, tmp_path / "images")
    assert not (tmp_path / "images").exists()


def test_a_data_set_without_pictures_is_refused(tmp_path, clip):
    source = parquet(tmp_path / "a.parquet", [], [])
    with pytest.raises(UserError, match="holds no picture"):
        images.prepare(source, AutoImageProcessor.from_pretrained(clip), 10, tmp_path / "images")


# --- models ---------------------------------------------------------------------------------------


@pytest.fixture
def head(tmp_path, clip):
    model = CLIPModel.from_pretrained(clip)
    tokenizer = train_vision.make_processor().tokenizer
    found = zero_shot.head(model, tokenizer, DIGITS.captions())
    save_file({"head": found}, tmp_path / "head.safetensors")
    return tmp_path / "head.safetensors"


def test_the_image_side_alone_classifies_as_the_whole_clip(clip, head, prepared):
    logits = image_models.logits(clip, "clip", head, 10)
    model = image_models.load(clip, "clip", torch.float32)
    assert not any(name.startswith("text") for name, _ in model.named_parameters())
    whole, tokenizer = CLIPModel.from_pretrained(clip), train_vision.make_processor().tokenizer
    texts = tokenizer([same[0] for same in DIGITS.captions()], padding=True, return_tensors="pt")
    pixels = prepared.pixels(0, 5)
    with torch.no_grad():
        wanted = whole(pixel_values=pixels, **texts).logits_per_image
        torch.testing.assert_close(logits(model, pixels), wanted)


def suite(**options):
    return {
        "tasks": {"demo_digits": {}},
        "batch_size": 16,
        "dtype": "float32",
        "limit": None,
    } | options


def test_accuracy_is_the_share_of_pictures_whose_class_is_found(clip, head, prepared):
    logits = image_models.logits(clip, "clip", head, 10)
    model = image_models.load(clip, "clip", torch.float32)
    with torch.no_grad():
        right = logits(model, prepared.pixels(0, 70)).argmax(1) == prepared.labels
    tasks = {"demo_digits": (prepared, logits)}
    for limit, count in ((None, 70), (20, 20), (100, 70)):
        [row] = image_evaluation.evaluate(clip, "clip", suite(limit=limit), tasks)
        accuracy = right[:count].double().mean().item()
        assert row["value"] == pytest.approx(accuracy)
        error = right[:count].double().std().item() / count**0.5
        assert (row["count"], row["stderr"]) == (count, pytest.approx(error))
        assert (row["task"], row["metric"], row["filter"]) == ("demo_digits", "acc", "none")
    [row] = image_evaluation.evaluate(clip, "clip", suite(dtype="bfloat16"), tasks)
    assert 0 <= row["value"] <= 1


def test_an_interrupted_evaluation_of_images_goes_on_at_its_task(
    vit, prepared, tmp_path, monkeypatch
):
    logits = image_models.logits(vit, "image_classifier", None, 10)
    loads, load, seen = [], image_models.load, []
    monkeypatch.setattr(image_models, "load", lambda *given: (loads.append(1), load(*given))[1])

    def counted(task, stops=()):
        def count(model, pixels):
            if task in stops:
                raise KeyboardInterrupt
            seen.append(task)
            return logits(model, pixels)

        return prepared, count

    def evaluate(names, *keep, stops=(), **options):
        specs = suite(tasks={name: {} for name in names}, **options)
        tasks = {name: counted(name, stops) for name in names}
        seen.clear(), loads.clear()
        return image_evaluation.evaluate(vit, "image_classifier", specs, tasks, *keep)

    keep = memo.keeper(tmp_path / "kept", {"checkpoint": "abc"})
    whole = evaluate("ab")
    assert len(loads) == 1
    with pytest.raises(KeyboardInterrupt):
        evaluate("ab", keep, stops="b")
    assert evaluate("ab", keep) == whole
    assert (set(seen), len(loads)) == ({"b"}, 1)
    assert evaluate("ba", keep) == whole[::-1]
    assert (seen, loads) == ([], []), "nor is the model loaded"
    evaluate("abc", keep)
    assert set(seen) == {"c"}
    evaluate("ab", keep, limit=20)
    assert set(seen) == {"a", "b"}


def test_the_pictures_of_a_task_are_its_own(vit, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "to_file", lambda path: None)
    path = Path(images.__file__).parents[1] / "evaluate_images.py"
    script = runpy.run_path(str(path), {"snakemake": SimpleNamespace(log=[None])})
    variants = [{"name": "post", "folder": f"{vit}", "method": None, "seed": None, "tensors": None}]
    keys = {"pair": "vit", "sweep": "ends", "slice": "all", "suite": "numbers"}
    specs = suite(tasks={"demo_digits": {}, "mnist": {}})
    others = parquet(tmp_path / "b.parquet", drawn(20, seed=1), [1] * 20)
    images.prepare(others, AutoImageProcessor.from_pretrained(vit), 10, tmp_path / "others")

    def counts(*folders):
        sources = {task: (f"{f}", None) for task, f in zip(specs["tasks"], folders, strict=True)}
        given = (variants, keys, "image_classifier", specs, f"{vit}", sources, tmp_path / "kept")
        rows = script["evaluate_images"](*given, {})
        return [row["count"] for row in rows], len(list((tmp_path / "kept").iterdir()))

    assert counts(prepared.folder, prepared.folder) == ([70, 70], 2)
    assert counts(prepared.folder, tmp_path / "others") == ([70, 20], 3)
    assert counts(prepared.folder, prepared.folder) == ([70, 70], 3)


def test_classes_are_counted_without_the_weights(vit, tmp_path):
    shutil.copy(vit / "config.json", tmp_path)
    assert callable(image_models.logits(tmp_path, "image_classifier", None, 10))


def test_a_head_of_another_number_of_classes_is_refused(vit, prepared):
    logits = image_models.logits(vit, "image_classifier", None, 10)
    model = image_models.load(vit, "image_classifier", torch.float32)
    assert logits(model, prepared.pixels(0, 2)).shape == (2, 10)
    with pytest.raises(UserError, match="tells 10 classes, the task has 47"):
        image_models.logits(vit, "image_classifier", None, 47)


@pytest.mark.parametrize("batch_size", [8, 20, 64])
def test_the_loss_is_the_mean_cross_entropy_whatever_the_batches(vit, prepared, batch_size):
    model = image_models.load(vit, "image_classifier", torch.float32)
    logits = image_models.logits(vit, "image_classifier", None, 10)
    spec = {"kind": "image_classification", "options": {}, "count": 20, "batch_size": batch_size}
    parts = losses.build_of_images(spec, prepared, logits)
    assert sum(weight for weight, _ in parts) == pytest.approx(1)
    with torch.no_grad():
        wanted = cross_entropy(logits(model, prepared.pixels(0, 20)), prepared.labels[:20])
        found = sum(weight * part(model) for weight, part in parts)
    torch.testing.assert_close(found, wanted)


def test_pictures_of_a_loss_are_drawn_by_its_seed(vit, prepared):
    logits = image_models.logits(vit, "image_classifier", None, 10)
    model = image_models.load(vit, "image_classifier", torch.float32)
    spec = {"kind": "image_classification", "options": {}, "count": 9, "batch_size": 9}

    def loss(seed):
        [(_, part)] = losses.build_of_images(spec | {"seed": seed}, prepared, logits)
        with torch.no_grad():
            return part(model).item()

    assert loss(1) == loss(1) != loss(2)
    assert loss(None) != loss(1)
    with pytest.raises(UserError, match="70 examples, the loss's count asks for 71"):
        losses.build_of_images(spec | {"count": 71}, prepared, logits)


def test_pictures_are_told_apart_by_small_files(tmp_path, prepared):
    """A measurement is recalled only for the same pixels, labels and values."""
    same = {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}
    other = {**same, "size": {"shortest_edge": 30}}
    found = []
    for i, (options, labels) in enumerate(((same, 0), (same, 0), (other, 0), (same, 1))):
        source = parquet(tmp_path / f"{i}.parquet", drawn(4), [labels] * 4)
        images.prepare(source, CLIPImageProcessorPil(**options), 10, tmp_path / f"{i}")
        found.append(digest.of_files(images.Pictures.identity(tmp_path / f"{i}")))
    assert found[0] == found[1]
    assert len(set(found)) == 3


@pytest.mark.parametrize("kind", image_tasks.KINDS)
def test_options_of_a_loss_reach_image_models(clip, vit, head, prepared, kind):
    folder, heads = (clip, head) if kind == "clip" else (vit, None)
    logits, pixels = image_models.logits(folder, kind, heads, 10), prepared.pixels(0, 4)
    found = {}
    for autocast, checkpointing in ((None, False), ("bfloat16", False), (None, True)):
        spec = {"autocast": autocast, "gradient_checkpointing": checkpointing}
        model = models.prepared(image_models.load(folder, kind, torch.float32), spec)
        loss = logits(model, pixels).float().square().mean()
        loss.backward()
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        found[autocast, checkpointing] = loss.item()
    assert found[None, True] == pytest.approx(found[None, False], rel=1e-6)
    assert found["bfloat16", False] != found[None, False]
    assert found["bfloat16", False] == pytest.approx(found[None, False], rel=0.2)
