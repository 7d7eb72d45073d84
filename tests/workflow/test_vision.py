"""Pairs that read images, from the hub or a folder to the table: as transformers has them."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from datasets import ClassLabel, Dataset, Features
from datasets import Image as Picture
from PIL import Image
from torch.nn.functional import cross_entropy
from transformers import CLIPModel, CLIPVisionModel, ViTConfig, ViTForImageClassification

from deltaedit import image_tasks
from deltaedit.demo import train_vision, vision

from ..project import JOB
from ..unit.hub_server import HubServer

DIGITS = "0123456789abcdef0123456789abcdef0123456"
REVISIONS = {"lab/clip": f"{DIGITS}a", "lab/tower": f"{DIGITS}b", "ylecun/mnist": f"{DIGITS}c"}
CAPTIONS = [caption for [caption] in image_tasks.load("mnist").captions()]
PICTURES = {"test": 20, "train": 8}
SUITE = {"suite": "numbers", "task": "mnist", "metric": "acc"}


def moved(model, step, seed):
    """Add noise to a model's matrices: at 0.1 its answers differ from picture to picture."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.add_(step * torch.randn(parameter.shape))
    return model


def draw(count, rng):
    """Draw pictures as MNIST's: gray, and not of the size that models take."""
    blocks = rng.integers(0, 256, (count, 4, 4), np.uint8)
    return [Image.fromarray(b).resize((28, 28), Image.Resampling.NEAREST) for b in blocks]


def zero_shot_logits(model, processor, pictures):
    """Return what CLIP's own forward pass says of pictures and captions."""
    pictures = [picture.convert("RGB") for picture in pictures]
    return model(
        **processor(text=CAPTIONS, images=pictures, padding=True, return_tensors="pt")
    ).logits_per_image


def accuracy(logits, labels):
    return (logits.argmax(1) == torch.as_tensor(labels)).double().mean().item()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Save a CLIP, the vision tower that it was trained to, and pictures it half recognizes."""
    folder = tmp_path_factory.mktemp("clip")
    with pytest.MonkeyPatch.context() as patch:
        words = dict.fromkeys([*vision.vocabulary(), *" ".join(CAPTIONS).split()])
        patch.setattr(vision, "vocabulary", lambda: list(words))
        processor = train_vision.make_processor()
    base = moved(train_vision.make_model(processor, 0), 0.1, 0).eval()
    base.save_pretrained(folder / "clip")
    processor.save_pretrained(folder / "clip")
    post = CLIPModel.from_pretrained(folder / "clip")
    moved(post.vision_model, 0.05, 1)
    tower = CLIPVisionModel(post.config.vision_config)
    tower.load_state_dict(post.vision_model.state_dict())
    tower.save_pretrained(folder / "tower")

    rng, splits = np.random.default_rng(0), {}
    features = Features({"image": Picture(), "label": ClassLabel(num_classes=len(CAPTIONS))})
    (folder / "mnist").mkdir()
    for split, count in PICTURES.items():
        pictures = draw(count, rng)
        answers = zero_shot_logits(base, processor, pictures).argmax(1).numpy()
        labels = (answers + (np.arange(count) % 3 == 1)) % len(CAPTIONS)
        Dataset.from_dict({"image": pictures, "label": labels}, features=features).to_parquet(
            folder / f"mnist/{split}.parquet"
        )
        splits[split] = pictures, labels
    return SimpleNamespace(
        folder=folder, processor=processor, base=base, post=post.eval(), **splits
    )


@pytest.fixture(scope="module")
def vits(tmp_path_factory):
    """Save two ViTs that tell as many classes as there are signs."""
    folder = tmp_path_factory.mktemp("vit")
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    shape = {"num_attention_heads": 2, "image_size": vision.SIZE, "patch_size": 8}
    config = ViTConfig(**small, **shape, num_labels=len(vision.SIGNS))
    base = moved(ViTForImageClassification(config), 0.5, 0).eval()
    base.save_pretrained(folder / "base")
    post = ViTForImageClassification.from_pretrained(folder / "base")
    moved(post, 0.05, 1).save_pretrained(folder / "post")
    processor = train_vision.make_processor().image_processor
    for end in ("base", "post"):
        processor.save_pretrained(folder / end)
    return SimpleNamespace(folder=folder, processor=processor, base=base, post=post.eval())


@pytest.fixture(scope="module")
def config(vits):
    hub = {
        end: {"source": "hub", "repo": repo, "revision": REVISIONS[repo]}
        for end, repo in (("base", "lab/clip"), ("post", "lab/tower"))
    }
    local = {end: {"source": "path", "path": str(vits.folder / end)} for end in ("base", "post")}
    data = REVISIONS["ylecun/mnist"]
    return {
        "seed": 0,
        "pairs": {
            "clip": {"kind": "clip", **hub},
            "vit": {"kind": "image_classifier", **local},
        },
        "suites": {
            "numbers": {"tasks": {"mnist": {"metric": "acc", "revision": data}}, "batch_size": 8},
            "signs": {"tasks": {"demo_signs": {"metric": "acc"}}, "batch_size": 128},
        },
        "losses": {
            "numbers": {
                "kind": "image_classification",
                "data": {"task": "mnist", "split": "train", "revision": data},
                "count": 6,
                "batch_size": 3,
                "intervals": 2,
            }
        },
        "sweeps": {
            "dare": {
                "method": "dare",
                "grid": {"drop_rate": [0.2, 0.7]},
                "formats": ["checkpoint"],
            },
            "expo": {"method": "expo", "grid": {"alpha": [0.5]}},
        },
        "runs": [
            {"pair": "clip", "sweeps": ["dare"], "suites": ["numbers"], "losses": ["numbers"]},
            {"pair": "vit", "sweeps": ["expo"], "suites": ["signs"]},
        ],
        "figures": {
            "accuracy": {
                "kind": "accuracy_by_drop_rate",
                "pair": "clip",
                "sweeps": ["dare"],
                "suite": "numbers",
            }
        },
    }


@pytest.fixture(scope="module")
def study(make_project, config, clips, tmp_path_factory):
    """The study, run once; `jobs` are those that ran: rule -> outputs."""
    servers = [
        HubServer(
            {
                file.name: file.read_bytes()
                for file in (clips.folder / repo.split("/")[1]).iterdir()
            },
            revision,
            repo,
            "datasets" if repo == "ylecun/mnist" else "models",
        )
        for repo, revision in REVISIONS.items()
    ]
    servers[0].beside = servers[1:]
    project = make_project()
    project.configure(config)
    made = ["tables/scores.csv", "figures/accuracy.csv", "clip/loss/dare/all/numbers.parquet"]
    with pytest.MonkeyPatch.context() as patch, servers[0]:
        patch.setenv("HF_ENDPOINT", servers[0].url)
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("home")))
        done = project.snakemake("--cores", "2", *(f"results/{file}" for file in made))
    project.jobs = {}
    for rule, output in JOB.findall(done.stderr):
        project.jobs.setdefault(rule, []).append(output)
    return project


@pytest.fixture(scope="module")
def scores(study):
    return pd.read_csv(study.folder / "results/tables/scores.csv")


@pytest.fixture(scope="module")
def slopes(study):
    return pq.read_table(study.folder / "results/clip/loss/dare/all/numbers.parquet")


@pytest.fixture(scope="module")
def edited(study):
    """The edited CLIPs by their drop rate, as transformers reads them."""
    folder = study.folder / "results/clip/variants/dare/all"
    return {p: CLIPModel.from_pretrained(folder / f"drop_rate={p}").eval() for p in (0.2, 0.7)}


def test_images_and_head_are_prepared_once(study):
    images = ["clip/images/mnist/test", "clip/images/mnist/train", "vit/images/demo_signs/test"]
    assert sorted(study.jobs["prepare_images"]) == [f"results/{folder}" for folder in images]
    assert study.jobs["encode_classes"] == ["results/clip/heads/mnist.safetensors"]
    assert len(study.jobs["download_images"]) == 2


def test_accuracies_of_clip_are_those_of_its_own_forward_pass(scores, clips, edited):
    rows = scores[scores["pair"] == "clip"]
    assert dict(rows[[*SUITE]].iloc[0]) == SUITE
    assert set(rows["count"]) == {PICTURES["test"]}
    pictures, labels = clips.test
    models = {"base": clips.base, "post": clips.post}
    models |= {f"drop_rate={p}": model for p, model in edited.items()}
    with torch.no_grad():
        wanted = {
            name: accuracy(zero_shot_logits(model, clips.processor, pictures), labels)
            for name, model in models.items()
        }
    assert dict(zip(rows["variant"], rows["value"], strict=True)) == pytest.approx(wanted)
    assert len(set(wanted.values())) > 2, "models alike would prove little"


def test_only_the_vision_tower_is_edited(clips, edited):
    base, post = clips.base.state_dict(), clips.post.state_dict()
    for model in edited.values():
        for name, tensor in model.state_dict().items():
            changed = not torch.equal(base[name], post[name])
            assert torch.equal(tensor, base[name]) is not changed, name
            assert name.startswith("vision_model.") or not changed


def test_loss_changes_are_those_of_clips_own_forward_pass(slopes, clips, edited):
    rows = slopes.to_pandas()
    assert set(rows["tensor"]) == {
        name for name, _ in clips.post.named_parameters() if name.startswith("vi")
    }
    pictures, labels = (each[:6] for each in clips.train)

    def loss(model):
        logits = zero_shot_logits(model, clips.processor, pictures)
        return cross_entropy(logits, torch.as_tensor(labels))

    start = loss(clips.post)
    start.backward()
    weights = dict(clips.post.named_parameters())
    for drop_rate, model in edited.items():
        of_variant = rows[rows["drop_rate"] == drop_rate]
        with torch.no_grad():
            steps = {name: p - weights[name] for name, p in model.named_parameters()}
            wanted = {name: (weights[name].grad * step).sum() for name, step in steps.items()}
            change = (loss(model) - start).item()
        at_post = of_variant[of_variant["node"] == 0].set_index("tensor")["slope"]
        assert dict(at_post) == pytest.approx(
            {name: wanted[name].item() for name in at_post.index}, rel=1e-3, abs=1e-5
        )
        assert at_post["visual_projection.weight"] == 0
        assert at_post.abs().sum() > 0.01
        [measured] = set(of_variant["measured_change"])
        assert measured == pytest.approx(change, rel=1e-3, abs=1e-5)


def test_what_was_measured_tells_the_commits(study, slopes):
    scores = json.loads((study.folder / "results/clip/eval/dare/all/numbers.json").read_text())
    of_loss = json.loads(slopes.schema.metadata[b"deltaedit"])
    for record in (scores["provenance"], of_loss):
        for end, repo in (("base", "lab/clip"), ("post", "lab/tower")):
            assert (record[end]["repo"], record[end]["revision"]) == (repo, REVISIONS[repo])
    data = REVISIONS["ylecun/mnist"]
    assert scores["provenance"]["suite"]["tasks"]["mnist"]["revision"] == data
    assert of_loss["loss"]["data"]["revision"] == data


def test_the_figure_draws_the_scores(study, scores):
    drawn = pd.read_csv(study.folder / "results/figures/accuracy.csv")
    assert sorted(drawn["series"]) == ["base", "dare", "dare", "post"]
    rows = scores[scores["pair"] == "clip"]
    assert sorted(drawn["accuracy"]) == pytest.approx(sorted(rows["value"]))


def test_accuracies_of_a_vit_are_those_of_its_own_forward_pass(scores, vits):
    pictures, labels = vision.images("signs", "test")
    pixels = vits.processor(list(pictures), return_tensors="pt").pixel_values
    longer = ViTForImageClassification(vits.base.config).eval()
    post = vits.post.state_dict()
    longer.load_state_dict(
        {name: b + 1.5 * (post[name] - b) for name, b in vits.base.state_dict().items()}
    )
    models = {"base": vits.base, "post": vits.post, "alpha=0.5": longer}
    with torch.no_grad():
        wanted = {name: accuracy(model(pixels).logits, labels) for name, model in models.items()}
    rows = scores[scores["pair"] == "vit"]
    assert dict(zip(rows["variant"], rows["value"], strict=True)) == pytest.approx(wanted)
    assert set(rows["count"]) == {len(labels)}
    assert len(set(wanted.values())) > 1, "models alike would prove little"


def test_a_vit_of_other_classes_than_the_task_is_one_line(study):
    scores = "results/vit/eval/ends/all/numbers.json"
    done = study.snakemake("--cores", "1", scores, check=False)
    assert done.returncode == 1
    [error] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "the model's head tells 18 classes, the task has 10; give the pair a task" in error
    log = study.folder / "logs/evaluate_images/vit/ends/all/numbers.log"
    assert "Traceback" not in log.read_text()
    assert not (study.folder / scores).exists()
