"""From the hub, through the workflow: used if whole, refused in one line if not."""

import copy
import json

import pytest
import torch
from datasets import load_dataset
from transformers import CLIPModel, CLIPVisionModel

from deltaedit.demo import train_vision
from deltaedit.demo.write_images import write_images

from ..unit.hub_server import HubServer

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tiny_pair, tmp_path, monkeypatch):
    base, _ = tiny_pair()
    files = {file.name: file.read_bytes() for file in base.iterdir()}
    with HubServer(files, REVISION, "lab/tiny") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        yield server


def test_a_pair_from_the_hub(fresh, tiny_config, hub):
    config = copy.deepcopy(tiny_config)
    config["pairs"]["tiny"]["base"] = {"source": "hub", "repo": "lab/tiny", "revision": REVISION}
    fresh.configure(config)
    place = fresh.folder / "resources/models/tiny/base"
    hub.fault("model.safetensors", "503")
    fresh.snakemake("--cores", "1", str(place.relative_to(fresh.folder)))
    assert (place / "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    assert REVISION in (place / "provenance.json").read_text()


def test_a_revision_that_is_not_there_ends_with_one_line(fresh, tiny_config, hub):
    config = copy.deepcopy(tiny_config)
    config["pairs"]["tiny"]["base"] = {"source": "hub", "repo": "lab/tiny", "revision": "f" * 40}
    fresh.configure(config)
    done = fresh.snakemake("--cores", "1", "resources/models/tiny/base", check=False)
    assert done.returncode == 1
    assert "error: hub lab/tiny@ffffffff: no such revision" in done.stderr
    assert not (fresh.folder / "resources/models/tiny/base").exists()


def test_data_of_a_loss_from_the_hub(fresh, tiny_config, tmp_path, monkeypatch):
    data = {"repo": "lab/sums", "revision": REVISION, "split": "test"}
    data["fields"] = {"prompt": "question", "answer": "answer"}
    config = copy.deepcopy(tiny_config)
    config["losses"]["math"] |= {"data": data, "count": 2}
    fresh.configure(config)
    rows = [{"question": f"tom has {n} pens .", "answer": str(n), "level": n} for n in range(3)]
    files = {"test.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode()}
    with HubServer(files, REVISION, "lab/sums", "datasets") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        fresh.snakemake("--cores", "1", "results/tiny/gradient/math")
    first = (fresh.folder / "resources/data/math.jsonl").read_text().splitlines()[0]
    assert json.loads(first) == {"prompt": "tom has 0 pens .", "answer": "0"}
    record = json.loads((fresh.folder / "results/tiny/gradient/math/loss.json").read_text())
    assert record["provenance"]["loss"]["data"] == data


# ---- a study of images ----


@pytest.fixture
def image_hub(tmp_path, monkeypatch):
    """Serve a CLIP, the vision tower of another, and a dataset of images under a task's name."""
    processor = train_vision.make_processor()
    base, post = (train_vision.make_model(processor, seed) for seed in (0, 1))
    base.save_pretrained(tmp_path / "clip")
    processor.save_pretrained(tmp_path / "clip")
    tower = CLIPVisionModel(post.config.vision_config)
    tower.load_state_dict(post.vision_model.state_dict())
    tower.save_pretrained(tmp_path / "tower")
    write_images("digits", "test", tmp_path / "mnist/test.parquet")
    repos = {"lab/clip": "models", "lab/tower": "models", "ylecun/mnist": "datasets"}
    servers = [
        HubServer(
            {file.name: file.read_bytes() for file in (tmp_path / repo.split("/")[1]).iterdir()},
            REVISION,
            repo,
            kind,
        )
        for repo, kind in repos.items()
    ]
    servers[0].beside = servers[1:]
    monkeypatch.setenv("HF_ENDPOINT", servers[0].url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    with servers[0], servers[1], servers[2]:
        yield servers


def with_clip(config, base=REVISION, post=REVISION):
    config = copy.deepcopy(config)
    config["pairs"]["vision"] = {
        "kind": "clip",
        "base": {"source": "hub", "repo": "lab/clip", "revision": base},
        "post": {"source": "hub", "repo": "lab/tower", "revision": post},
    }
    return config


def test_a_vision_tower_from_the_hub_is_joined_to_its_base(fresh, tiny_config, image_hub, tmp_path):
    fresh.configure(with_clip(tiny_config))
    fresh.snakemake("--cores", "1", "resources/models/vision/post")
    place = fresh.folder / "resources/models/vision"
    joined, base = (CLIPModel.from_pretrained(place / end) for end in ("post", "base"))
    tower = CLIPVisionModel.from_pretrained(tmp_path / "tower").state_dict()
    for name, tensor in joined.state_dict().items():
        own = name.removeprefix("vision_model.")
        expected = tower[own] if own != name else base.state_dict()[name]
        assert torch.equal(tensor, expected), name
    record = json.loads((place / "post/provenance.json").read_text())
    assert (record["repo"], record["revision"]) == ("lab/tower", REVISION)
    assert (place / "post/tokenizer.json").read_bytes() == (
        place / "base/tokenizer.json"
    ).read_bytes()


def test_a_tower_that_does_not_fit_ends_with_one_line(fresh, tiny_config, image_hub):
    config = with_clip(tiny_config)
    narrow = train_vision.make_model(train_vision.make_processor(), 0).config
    narrow.vision_config.num_hidden_layers = 2
    CLIPModel(narrow).save_pretrained(fresh.folder / "narrow")
    config["pairs"]["vision"]["base"] = {"source": "path", "path": str(fresh.folder / "narrow")}
    fresh.configure(config)
    done = fresh.snakemake("--cores", "1", "resources/models/vision/post", check=False)
    assert done.returncode == 1
    assert (
        "error: hub lab/tower@01234567: its vision tower does not fit resources/models/vision/base:"
        " 'vision_model.encoder.layers.2.layer_norm1.bias' is float32 [96], in base missing (and 15"
        " more); name a tower"
    ) in done.stderr
    assert not (fresh.folder / "resources/models/vision/post").exists()


def test_images_of_a_task_from_the_hub(fresh, tiny_config, image_hub, tmp_path):
    fresh.configure(tiny_config)
    file = f"resources/images/mnist@{REVISION}/test.parquet"
    fresh.snakemake("--cores", "1", file)
    found, given = (
        load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "c"))
        for path in (fresh.folder / file, tmp_path / "mnist/test.parquet")
    )
    assert found.features == given.features
    assert found["label"] == given["label"]
    assert found[7]["image"].tobytes() == given[7]["image"].tobytes()


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("resources/models/vision/base", "hub lab/clip: pairs.vision.base.revision is null;"),
        ("resources/images/mnist@unpinned/test.parquet", "hub datasets/ylecun/mnist: revision is"),
    ],
)
def test_a_revision_left_open_is_refused_before_the_first_job(
    fresh, tiny_config, image_hub, target, line
):
    fresh.configure(with_clip(tiny_config, base=None, post=None))
    made_from_a_folder = "resources/models/tiny/base"
    assert fresh.planned(target)
    done = fresh.snakemake("--cores", "1", made_from_a_folder, target, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    [error] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert error.startswith(f"error: {line}")
    assert "fill in the 40 digits of a commit, to be copied from http://127.0.0.1:" in error
    assert not (fresh.folder / "resources").exists()
    fresh.snakemake("--cores", "1", made_from_a_folder)  # which needs no revision


def test_all_revisions_left_open_stand_in_one_line(fresh, tiny_config, image_hub):
    config = with_clip(tiny_config, base=None, post=None)
    config["losses"]["math"]["data"] = {"repo": "lab/sums", "revision": None, "split": "test"}
    fresh.configure(config)
    targets = ("resources/models/vision/post", "resources/data/math.jsonl")
    done = fresh.snakemake("--cores", "1", *targets, check=False)
    [error] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: hub datasets/lab/sums: losses.math.data.revision is null;")
    assert error.endswith("; also null: pairs.vision.base.revision, pairs.vision.post.revision")
