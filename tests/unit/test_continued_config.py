"""What a config may say of continued pretraining, each mistake refused in one line."""

import copy
from pathlib import Path

import pytest
import yaml

from deltaedit import config as configuration
from deltaedit import study

ROOT = Path(__file__).parents[2]
STUDY = yaml.safe_load((ROOT / "configs" / "param-delta-demo.yaml").read_text())
RECIPE = ("continued", "chronicle")
BASE = ("pairs", "demo_continued", "base")
POST = ("pairs", "demo_continued", "post")
HUB = {"source": "hub", "repo": "org/model", "revision": "0" * 40}
GGUF = {"source": "gguf", "file": "tiny.gguf", "package": "llm-tiny==1.2"}
VISION = {"source": "demo", "world": "vision", "stage": "pretrained"}


def changed(path, value):
    config = copy.deepcopy(STUDY)
    *parents, last = path
    entry = config
    for key in parents:
        entry = entry[key]
    entry[last] = value
    return config


def check(config, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(config))
    configuration.check(config, [file], ROOT)
    return config


def test_the_recipe_of_the_paper_is_the_default(tmp_path):
    stated = {"start": HUB, "data": "workflow/tasks/demo/chronicle_text.jsonl", "steps": 125}
    config = changed(RECIPE, stated)
    for pair in ("demo_continued", "demo_continued_specific"):
        config["pairs"][pair]["post"] = HUB
    check(config, tmp_path)
    recipe = study.continued({**config, "seed": 7}, "chronicle")
    assert (recipe.pop("save_every"), recipe.pop("seed")) == (50, 7)
    assert recipe == {"steps": 125, "learning_rate": 1e-5, "batch_size": 1, "length": 512}
    config["continued"]["chronicle"]["seed"] = 0
    assert study.continued({**config, "seed": 7}, "chronicle")["seed"] == 0


def test_what_is_made_here_is_read_from_where_it_is_made(tmp_path):
    config = check(copy.deepcopy(STUDY), tmp_path)
    for pair, end, folder in (
        ("demo_lm", "base", "resources/demo/language/pretrained"),
        ("demo_continued", "base", "resources/continued/chronicle/model"),
        ("demo_continued", "post", "resources/demo/language/on/chronicle/sft"),
    ):
        assert study.source(config, pair, end) == {"source": "path", "path": folder}
        assert study.source_files(config, pair, end) == [folder]
    assert study.place(HUB) == HUB
    assert study.place_files(HUB) == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((*RECIPE, "step"), 5, "continued.chronicle: unknown key 'step'. Did you mean 'steps'?"),
        ((*RECIPE, "steps"), 0, "continued.chronicle.steps: got 0, must be a whole number"),
        (
            (*RECIPE, "learning_rate"),
            "1e-5",
            "continued.chronicle.learning_rate: got '1e-5', must be a number above 0",
        ),
        ((*RECIPE, "data"), "news.txt", "continued.chronicle.data: no file 'news.txt' in "),
        (
            (*RECIPE, "start"),
            {"source": "continued", "name": "chronicle"},
            "continued.chronicle.start: stands on a continued training itself",
        ),
        (
            (*RECIPE, "start", "start"),
            "chronicle",
            "continued.chronicle.start: stands on a continued training itself",
        ),
        ((*RECIPE, "start"), VISION, "continued.chronicle.start: must be a causal_lm"),
        (
            (*RECIPE, "start"),
            {"source": "path", "path": "nowhere"},
            "continued.chronicle.start: no folder 'nowhere' in ",
        ),
        (
            (*RECIPE, "start"),
            HUB,
            "pairs.demo_continued.post.start: 'chronicle' starts from no checkpoint of the world",
        ),
        (
            (*BASE, "name"),
            "cronicle",
            "pairs.demo_continued.base.name: unknown continued training 'cronicle'."
            " Did you mean 'chronicle'?",
        ),
        ((*BASE, "steps"), 3, "pairs.demo_continued.base: unknown key 'steps'"),
        ((*POST, "start"), "other", "pairs.demo_continued.post.start: unknown continued"),
        (
            (*POST, "stage"),
            "pretrained",
            "pairs.demo_continued.post.start: the stage 'pretrained' trains on no other",
        ),
        (
            ("pairs", "demo_continued", "kind"),
            "clip",
            "pairs.demo_continued.kind: must be causal_lm for the continued training",
        ),
        (
            (*RECIPE, "start"),
            {"source": "gguf", "file": "nowhere.gguf"},
            "continued.chronicle.start.file: no file 'nowhere.gguf' in ",
        ),
        (
            BASE,
            {**GGUF, "file": "tiny.bin"},
            "pairs.demo_continued.base.file: got 'tiny.bin', must be a model in the GGUF format",
        ),
        (
            BASE,
            {**GGUF, "package": "llm-tiny"},
            "pairs.demo_continued.base.package: got 'llm-tiny', must be an installed package",
        ),
        (
            ("pairs", "demo_continued"),
            {"kind": "clip", "base": GGUF, "post": GGUF},
            "pairs.demo_continued.kind: must be causal_lm for the GGUF file 'tiny.gguf'",
        ),
    ],
)
def test_a_mistake_is_refused_in_one_line(tmp_path, path, value, message):
    with pytest.raises(configuration.ConfigError) as error:
        check(changed(path, value), tmp_path)
    assert "\n" not in str(error.value)
    assert f"study.yaml, {message}" in str(error.value)
