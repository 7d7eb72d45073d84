"""The vision world: closed vocabulary, pictures never trained on, one classifier for all uses."""

import numpy as np
import pytest
import torch
from datasets import load_dataset
from torch.nn.functional import normalize
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer, CLIPModel

from deltaedit import demo, image_tasks, study, zero_shot
from deltaedit.demo import train_vision, vision
from deltaedit.demo.write_images import write_images


@pytest.fixture(scope="module")
def processor():
    return train_vision.make_processor()


@pytest.fixture
def few_steps(monkeypatch):
    for name, value in {
        "PICTURES": 60,
        "WORD_STEPS": 2,
        "PRETRAINING_STEPS": 2,
        "STEPS": 2,
    }.items():
        monkeypatch.setattr(train_vision, name, value)


@pytest.fixture
def checkpoint(few_steps, tmp_path):
    model, processor = train_vision.pretrain(seed=0)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    return tmp_path


def test_every_word_of_the_world_has_a_token(processor):
    _, captions = vision.captioned(3000, np.random.default_rng(5))
    texts = set(captions)
    for name in vision.TASKS:
        texts |= {text for same in image_tasks.load(f"demo_{name}").captions() for text in same}
    tokenizer = processor.tokenizer
    ids = tokenizer.get_vocab()
    for text in texts:
        assert tokenizer(text).input_ids == [ids[word] for word in ["<s>", *text.split(), "</s>"]]
        assert len(text.split()) + 2 <= tokenizer.model_max_length
    assert set(ids) == {*vision.SPECIAL, *(word for text in texts for word in text.split())}


def test_clip_reads_a_text_at_its_end(processor):
    # With the id 2 for </s>, CLIP reads at the largest id of a text, whatever that is.
    model = train_vision.make_model(processor, seed=0)
    tokenizer = processor.tokenizer
    assert model.config.text_config.eos_token_id == tokenizer.eos_token_id != 2
    short, long = "a photo of strokes", "a photo of a red area on the left"
    with torch.no_grad():
        alone = zero_shot.embed_texts(model, tokenizer, [short])
        padded = zero_shot.embed_texts(model, tokenizer, [short, long])
        other = zero_shot.embed_texts(model, tokenizer, ["a photo of area"])
    torch.testing.assert_close(alone[0], padded[0])
    assert not torch.allclose(alone, other)


@pytest.mark.parametrize("task", vision.TASKS)
def test_the_pictures_of_a_task(task):
    splits = {split: vision.images(task, split) for split in vision.SPLITS}
    again = vision.images(task, "test")
    for ours, same in zip(splits["test"], again, strict=True):
        assert np.array_equal(ours, same)
    for pictures, labels in splits.values():
        assert pictures.dtype == np.uint8
        assert pictures.shape == (len(labels), vision.SIZE, vision.SIZE, 3)
        assert set(labels) == set(range(len(vision.TASKS[task].classnames)))
    seen, asked = ({picture.tobytes() for picture in splits[s][0]} for s in ("train", "test"))
    assert not seen & asked
    assert len(asked) == len(splits["test"][1]) == 300


def test_pretraining_pictures_are_fixed_by_the_seed():
    first, again, other = (vision.captioned(40, np.random.default_rng(s)) for s in (0, 0, 1))
    assert np.array_equal(first[0], again[0])
    assert first[1] == again[1]
    assert not np.array_equal(first[0], other[0])


def test_pretraining_names_no_class_of_a_task():
    _, captions = vision.captioned(3000, np.random.default_rng(2))
    for task in vision.TASKS.values():
        assert not {text for same in task.captions() for text in same} & set(captions)


@pytest.mark.parametrize("shape", vision.SHAPES)
def test_a_shape_s_edge_is_where_its_distance_is_zero(shape):
    y, x = np.mgrid[-20:20:0.05, -20:20:0.05]
    outside = vision.distance(shape, x, y, 10.0)
    slope = np.hypot(*np.gradient(outside, 0.05))
    near = np.abs(outside) < 0.5
    assert outside.min() < 0 < outside.max()
    assert np.median(slope[near]) == pytest.approx(1, abs=0.05)
    assert np.hypot(x, y)[outside < 0].max() < 14.5


def test_the_shipped_tasks_are_the_world_s():
    for name, task in vision.TASKS.items():
        assert image_tasks.load(f"demo_{name}") == task, "run python -m deltaedit.demo.write_tasks"


def test_the_paper_s_eight_tasks_are_whole():
    classes = {
        "sun397": 397,
        "stanford_cars": 196,
        "resisc45": 45,
        "eurosat": 10,
        "svhn": 10,
        "gtsrb": 43,
        "mnist": 10,
        "dtd": 47,
    }
    assert {*classes, *(f"demo_{name}" for name in vision.TASKS)} == set(image_tasks.names())
    for name, count in classes.items():
        task = image_tasks.load(name)
        assert len(task.captions()) == len(set(task.classnames)) == count
        assert all("{c}" in template for template in task.templates)
        assert task.repo
        assert not task.files
    assert image_tasks.load("mnist").captions()[3] == ['a photo of the number: "3".']


def test_an_unknown_image_task_is_refused():
    with pytest.raises(ValueError, match=r"unknown image task 'minst'\. Did you mean 'mnist'?"):
        image_tasks.load("minst")


def test_every_stage_that_trains_is_a_task():
    assert study.STARTS["vision"].keys() == vision.TASKS.keys()
    assert demo.load("vision") is train_vision


def test_training_is_fixed_by_the_seed_and_moves_the_vision_tower_alone(checkpoint):
    def stages(seed):
        model, _ = train_vision.pretrain(seed)
        tuned, _ = train_vision.fine_tune(checkpoint, "digits", seed)
        return model.state_dict(), tuned.state_dict()

    first, again, other = stages(0), stages(0), stages(1)
    for ours, same, different in zip(first, again, other, strict=True):
        assert all(torch.equal(ours[name], same[name]) for name in ours)
        assert not all(torch.equal(ours[name], different[name]) for name in ours)
    base, post = first
    changed = {name for name in base if not torch.equal(base[name], post[name])}
    assert changed == {n for n in base if n.startswith("vision_model") and "embeddings" not in n}


def test_any_hugging_face_tool_loads_a_checkpoint(checkpoint):
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    images = AutoImageProcessor.from_pretrained(checkpoint)
    processor = AutoProcessor.from_pretrained(checkpoint)
    model = CLIPModel.from_pretrained(checkpoint)
    pictures, _ = vision.images("digits", "test")
    pixels = images(list(pictures[:5]), return_tensors="pt").pixel_values
    expected = torch.from_numpy(pictures[:5]).permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(pixels, expected)
    texts = [text for same in vision.TASKS["digits"].captions() for text in same]
    options = {"padding": True, "truncation": True, "return_tensors": "pt"}
    both = processor(text=texts, images=list(pictures[:5]), **options)
    assert torch.equal(both.pixel_values, pixels)
    assert torch.equal(both.input_ids, tokenizer(texts, return_tensors="pt").input_ids)
    with torch.no_grad():
        theirs = model(**both).logits_per_image
        head = zero_shot.head(model, tokenizer, vision.TASKS["digits"].captions())
        torch.testing.assert_close(zero_shot.logits(model, pixels, head), theirs)


def test_a_head_of_several_templates_is_the_mean_direction(processor):
    model = train_vision.make_model(processor, seed=0)
    tokenizer = processor.tokenizer
    pairs = [["a photo of a red circle", "a red circle"], ["a blue bar", "a photo of the bar"]]
    head = zero_shot.head(model, tokenizer, pairs)
    with torch.no_grad():
        for row, same in zip(head, pairs, strict=True):
            one, two = normalize(zero_shot.embed_texts(model, tokenizer, same))
            assert row.norm().item() == pytest.approx(model.logit_scale.exp().item(), rel=1e-5)
            assert (row @ one).item() == pytest.approx((row @ two).item(), rel=1e-5)
    assert not head.requires_grad


def test_fine_tuning_learns_the_task(monkeypatch, checkpoint):
    monkeypatch.setattr(train_vision, "STEPS", 25)
    pictures, labels = vision.images("digits", "test")

    def loss(model, processor):
        head = zero_shot.head(model, processor.tokenizer, vision.TASKS["digits"].captions())
        pixels = processor.image_processor(list(pictures), return_tensors="pt").pixel_values
        with torch.no_grad():
            found = zero_shot.logits(model, pixels, head)
        return torch.nn.functional.cross_entropy(found, torch.from_numpy(labels)).item()

    before = loss(CLIPModel.from_pretrained(checkpoint), AutoProcessor.from_pretrained(checkpoint))
    assert loss(*train_vision.fine_tune(checkpoint, "digits", seed=0)) < before - 0.3


def test_pictures_read_back_as_a_data_set(tmp_path):
    file = tmp_path / "test.parquet"
    write_images("digits", "test", file)
    found = load_dataset("parquet", data_files={"test": str(file)}, cache_dir=str(tmp_path))["test"]
    pictures, labels = vision.images("digits", "test")
    assert found.features["label"].names == vision.DIGITS
    assert found["label"] == labels.tolist()
    for row, picture in zip(found, pictures, strict=True):
        assert np.array_equal(np.asarray(row["image"]), picture)
