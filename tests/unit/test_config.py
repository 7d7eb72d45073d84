"""A wrong config is refused in one line that names the place, what was found, what is allowed."""

import copy
from pathlib import Path

import pytest
import yaml

from deltaedit import config as configuration
from deltaedit import image_study, study

ROOT = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())


def check(config, tmp_path, text=None):
    file = tmp_path / "study.yaml"
    file.write_text(text if text is not None else yaml.safe_dump(config))
    configuration.check(config, [file], ROOT)


def changed(path, value):
    """Return the default config with the entry at `path` replaced."""
    config = copy.deepcopy(DEFAULT)
    *parents, last = path
    entry = config
    for key in parents:
        entry = entry[key]
    entry[last] = value
    return config


def test_the_default_config_is_right(tmp_path):
    check(copy.deepcopy(DEFAULT), tmp_path)


DARE = ("sweeps", "dare_grid")
DATASET = {"repo": "org/sums", "revision": "0" * 40, "split": "test"}
HUB = {"source": "hub", "repo": "org/model", "revision": "0" * 40}
HUMAN_EVAL = {"metric": "pass@1", "filter": "create_test"}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("sweep",), {}, "top level: unknown key 'sweep'. Did you mean 'sweeps'?"),
        (("seed",), -1, "seed: got -1, must be a whole number from 0 on"),
        ((*DARE, "grids"), {}, "sweeps.dare_grid: unknown key 'grids'. Did you mean 'grid'?"),
        (
            (*DARE, "method"),
            "dair",
            "sweeps.dare_grid: unknown edit method 'dair'. Did you mean 'dare'?",
        ),
        (
            (*DARE, "tensors"),
            "linears",
            "sweeps.dare_grid.tensors: got 'linears', must be all, linear",
        ),
        (
            ("pairs", "demo_lm", "post"),
            {"source": "demo", "world": "vision", "stage": "sft"},
            "pairs.demo_lm.post.stage: unknown value 'sft'. Known: digits, pretrained, signs",
        ),
        ((*DARE, "gradient"), "demo_math", "sweeps.dare_grid.gradient: dare does not take it"),
        ((*DARE, "onto"), "demo_lm", "sweeps.dare_grid.onto: dare does not take it"),
        (
            (*DARE, "formats"),
            ["zip"],
            "sweeps.dare_grid.formats[0]: unknown value 'zip'. Known: adapt",
        ),
        ((*DARE, "formats"), ["packed"], "sweeps.dare_grid.formats: "),
        (
            ("sweeps", "new"),
            {"method": "biased", "options": {"by": "product"}},
            "sweeps.new: by: product needs the gradient of a loss, as gradient: NAME",
        ),
        (
            ("sweeps", "new"),
            {"method": "biased", "options": {"by": "product"}, "gradient": "demo_maths"},
            "sweeps.new.gradient: unknown loss 'demo_maths'. Did you mean 'demo_math'?",
        ),
        (
            ("sweeps", "new"),
            {"method": "combine", "deltas": ["demo_lm"]},
            "sweeps.new: weights has 1 numbers, but there are 2 deltas",
        ),
        (
            ("sweeps", "new"),
            {"method": "combine", "onto": "demo"},
            "sweeps.new.onto: unknown pair 'demo'. Did you mean 'demo_lm'?",
        ),
        (
            (*DARE, "options"),
            {"rescal": False},
            "sweeps.dare_grid: unknown option 'rescal'. Did you mean 'rescale'?",
        ),
        (
            (*DARE, "grid", 0, "drop_rate"),
            [0.5, 1.0],
            "sweeps.dare_grid: drop_rate must be in [0, 1), got 1.0",
        ),
        ((*DARE, "grid", 0, "drop_rate"), [-0.1], "drop_rate must be in [0, 1), got -0.1"),
        ((*DARE, "grid", 0, "drop_rate"), ["0,5"], "drop_rate must be a number, got '0,5'"),
        ((*DARE, "grid", 0, "drop_rate"), [], "sweeps.dare_grid.grid[0].drop_rate: is empty"),
        ((*DARE, "grid"), {}, "sweeps.dare_grid.grid: is empty"),
        (
            (*DARE, "grid", 0, "drop_rate"),
            [0.5, 0.5],
            "sweeps.dare_grid.grid[0].drop_rate: [0.5, 0.5] names",
        ),
        ((*DARE, "split_by"), ["rate"], "split_by: unknown axis 'rate'. Did you mean 'drop_rate'?"),
        ((*DARE, "options"), {"drop_rate": 0.5}, "'drop_rate' is in both options and grid"),
        (("sweeps", "ends"), {"method": "expo"}, "sweeps: the name 'ends' is reserved"),
        (("sweeps", "a/b"), {"method": "expo"}, "sweeps: got 'a/b', must be a name of letters"),
        (("pairs", "demo_lm", "kind"), "causal", "pairs.demo_lm.kind: unknown value 'causal'"),
        (
            ("pairs", "demo_lm", "base"),
            {**HUB, "revision": "main"},
            "pairs.demo_lm.base.revision: got 'main', must be the 40 hex digits of a commit",
        ),
        (
            ("pairs", "demo_lm", "base"),
            {**HUB, "revison": ""},
            "unknown key 'revison'. Did you mean 'revision'?",
        ),
        (
            ("pairs", "demo_lm", "base"),
            {"source": "hug"},
            "unknown value 'hug'. Did you mean 'hub'?",
        ),
        (("pairs", "demo_lm", "base"), {"source": "path"}, "pairs.demo_lm.base: 'path' is missing"),
        (
            ("pairs", "demo_lm", "base"),
            {"source": "path", "path": "nowhere"},
            "pairs.demo_lm.base: no folder 'nowhere'",
        ),
        (
            ("suites", "demo", "batch_size"),
            "large",
            "suites.demo.batch_size: got 'large', must be a whole number of requests, or auto",
        ),
        (("suites", "demo", "batch_size"), 0, "suites.demo.batch_size: got 0, must be a whole"),
        (
            ("suites", "demo", "backend"),
            "vlm",
            "suites.demo.backend: unknown value 'vlm'. Did you mean 'vllm'? Known: hf, vllm",
        ),
        (("limit",), 0, "limit: got 0, must be null, or a whole number of documents per task"),
        (
            ("suites", "demo", "tasks"),
            {"human_eval_local": HUMAN_EVAL},
            "suites.demo.tasks.human_eval_local: runs code that the model writes; with"
            " allow_code_execution: true at the top of the config it is run, in a sandbox",
        ),
        (
            ("suites", "demo", "tasks"),
            {"humaneval_64_instruct": HUMAN_EVAL},  # by what it includes
            "suites.demo.tasks.humaneval_64_instruct: runs code that the model writes; with",
        ),
        (
            ("suites", "demo", "tasks"),
            {"humaneval_infilling": HUMAN_EVAL},  # by the tasks of the group
            "suites.demo.tasks.humaneval_infilling: runs code that the model writes; with",
        ),
        (
            ("allow_code_execution",),
            "yes",
            "allow_code_execution: got 'yes', must be true or false",
        ),
        (
            ("suites", "demo", "tasks"),
            {"demo_maths": {"metric": "acc"}},
            "suites.demo.tasks: unknown task 'demo_maths'. Did you mean 'demo_math'?",
        ),
        (
            ("suites", "demo", "tasks"),
            {"demo_math": {"metric": "accuracy"}},
            "suites.demo.tasks.demo_math: unknown metric 'accuracy'. Known: exact_match",
        ),
        (
            ("suites", "demo", "tasks"),
            {"demo_math": {"metric": "exact_match", "filter": "strikt"}},
            "suites.demo.tasks.demo_math: unknown filter 'strikt'. Did you mean 'strict'?",
        ),
        (
            ("suites", "demo", "tasks"),
            {"api_bank_level_1": {"metric": "acc"}},
            "suites.demo.tasks.api_bank_level_1: needs data: FOLDER with level-1-api.json",
        ),
        (
            ("suites", "demo", "tasks"),
            {"demo_math": {"metric": "exact_match", "filter": "strict", "data": "tests"}},
            "suites.demo.tasks.demo_math: takes no data",
        ),
        (
            ("losses", "demo_math", "kind"),
            "next_tokens",
            "losses.demo_math: unknown loss 'next_tokens'",
        ),
        (
            ("losses", "demo_math", "options"),
            {"reduction": "sum"},
            "reduction must be one of 'token', 'example'",
        ),
        (("losses", "demo_math", "data"), "no.jsonl", "losses.demo_math.data: no file 'no.jsonl'"),
        (("losses", "demo_math", "data"), 3, "losses.demo_math.data: got 3, must be a JSON lines"),
        (
            ("losses", "demo_math", "data"),
            {**DATASET, "splits": "test"},
            "losses.demo_math.data: unknown key 'splits'. Did you mean 'split'?",
        ),
        (
            ("losses", "demo_math", "data"),
            {"repo": "org/sums", "revision": "0" * 40},
            "losses.demo_math.data: 'split' is missing",
        ),
        (
            ("losses", "demo_math", "data"),
            {**DATASET, "revision": "main"},
            "losses.demo_math.data.revision: got 'main', must be the 40 hex digits of a commit",
        ),
        (
            ("losses", "demo_math", "data"),
            {**DATASET, "repo": "sums"},
            "losses.demo_math.data.repo: got 'sums', must be a repository as owner/name",
        ),
        (
            ("losses", "demo_math", "data"),
            {**DATASET, "fields": {"prompt": 3}},
            "losses.demo_math.data.fields.prompt: got 3, must be the name of a column",
        ),
        (
            ("losses", "demo_digits", "data"),
            {"task": "dtds", "split": "train"},
            "losses.demo_digits.data: unknown image task 'dtds'. Did you mean 'dtd'?",
        ),
        (
            ("losses", "demo_math", "data"),
            {"task": "dtd", "split": "train[:5]"},
            "losses.demo_math.data.split: got 'train[:5]', must be the name of a split",
        ),
        (
            ("losses", "demo_math", "data"),
            {"task": "dtd", "split": "train", "revision": "main"},
            "losses.demo_math.data.revision: got 'main', must be the 40 hex digits of a commit",
        ),
        (
            ("losses", "demo_math", "data"),
            {"task": "dtd", "splt": "train"},
            "losses.demo_math.data: unknown key 'splt'. Did you mean 'split'?",
        ),
        (("losses", "demo_math", "seed"), -1, "losses.demo_math.seed: got -1, must be null"),
        (
            ("losses", "demo_math", "autocast"),
            "float16",
            "losses.demo_math.autocast: unknown value 'float16'. Did you mean 'bfloat16'? Known:"
            " bfloat16, null",
        ),
        (
            ("losses", "demo_math", "quadrature"),
            ["left", "lft"],
            "losses.demo_math.quadrature[1]: unknown value 'lft'",
        ),
        (
            ("runs", 0, "pair"),
            "demo_ml",
            "runs[0].pair: unknown pair 'demo_ml'. Did you mean 'demo_lm'?",
        ),
        (("runs", 0, "sweeps"), ["dare"], "runs[0].sweeps: unknown sweep 'dare'"),
        (("runs", 0, "suites"), ["demos"], "runs[0].suites: unknown suite 'demos'"),
        (("runs", 0, "losses"), ["math"], "runs[0].losses: unknown loss 'math'"),
        (("runs", 0), {"pair": "demo_lm", "sweeps": ["dare_grid"]}, "runs[0]: measures nothing"),
        (
            ("figures", "dare_accuracy", "kind"),
            "accuracy",
            "figures.dare_accuracy: unknown figure kind 'accuracy'",
        ),
        (
            ("figures", "dare_accuracy", "pair"),
            "lm",
            "figures.dare_accuracy.pair: unknown pair 'lm'",
        ),
        (
            ("figures", "dare_accuracy", "sweeps"),
            ["dare_gird"],
            "figures.dare_accuracy.sweeps: unknown sweep 'dare_gird'. Did you mean 'dare_grid'?",
        ),
        (
            ("figures", "dare_accuracy", "sweeps"),
            ["dare_grid", "early"],
            "figures.dare_accuracy.sweeps: sweep 'early' is not run on the figure's pairs with its",
        ),
        (
            ("figures", "dare_accuracy", "pair"),
            "demo_lm_early",
            "figures.dare_accuracy: no sweep of the figure is run on pair 'demo_lm_early' with",
        ),
        (
            ("figures", "dare_accuracy", "loss"),
            "demo_math",
            "figures.dare_accuracy: 'loss' does not belong to accuracy_by_drop_rate",
        ),
        (
            ("figures", "size", "sweeps"),
            ["dare_grid"],
            "figures.size: no sweep of it is stored in a compact form; give one formats",
        ),
        (
            ("tables", "random_or_biased", "kind"),
            "random_or_bias",
            "tables.random_or_biased: unknown table kind 'random_or_bias'. Did you mean 'random_or",
        ),
        (
            ("tables", "scores"),
            {"kind": "random_or_biased", "pair": "demo_lm", "suite": "demo"},
            "tables: the name 'scores' is reserved",
        ),
        (
            ("sweeps", "others", "grid", 0, "method"),
            ["bitdelt"],
            "sweeps.others: unknown edit method 'bitdelt'. Did you mean 'bitdelta'?",
        ),
        (
            ("sweeps", "others", "method"),
            "dare",
            "sweeps.others: method: state it beside the grid or as an axis of each grid",
        ),
        (
            ("sweeps", "pruning", "gradient"),
            "demo_math",
            "sweeps.pruning.gradient: dare does not take it",
        ),
        (
            ("sweeps", "others", "onto"),
            "demo_lm",
            "sweeps.others.onto: bitdelta does not take it",
        ),
        (
            ("figures", "dare_accuracy"),
            {"kind": "accuracy_by_drop_rate", "pair": "demo_lm", "sweeps": ["dare_grid"]},
            "figures.dare_accuracy: 'suite' is missing",
        ),
    ],
)
def test_a_mistake_is_refused_in_one_line(tmp_path, path, value, message):
    with pytest.raises(configuration.ConfigError) as refusal:
        check(changed(path, value), tmp_path)
    text = str(refusal.value)
    assert text.startswith("study.yaml, ")
    assert message in text
    assert "\n" not in text


def test_one_limit_is_that_of_all_suites_that_state_none(tmp_path):
    config = changed(("limit",), 16)
    config["suites"]["digits"]["limit"] = 4
    check(config, tmp_path)
    limits = {name: suite["limit"] for name, suite in config["suites"].items()}
    assert limits == {name: 4 if name == "digits" else 16 for name in limits}
    assert len(limits) > 2


def test_a_suite_may_leave_its_batch_size_to_lm_eval_and_name_a_backend(tmp_path):
    config = changed(("suites", "demo", "batch_size"), "auto")
    config["suites"]["demo"] |= {"backend": "vllm", "chat_template": True}
    check(config, tmp_path)
    suite = config["suites"]["demo_preferences"]
    assert (suite["backend"], suite["chat_template"], suite["limit"]) == ("hf", False, None)


def test_a_dataset_of_the_hub_is_data_of_a_loss(tmp_path):
    fields = {"prompt": "question", "answer": "answer"}
    config = changed(("losses", "demo_math", "data"), {**DATASET, "name": "main", "fields": fields})
    check(config, tmp_path)
    assert study.fetched(config) == "demo_math"


def test_revisions_may_be_left_open(tmp_path):
    config = changed(("losses", "demo_math", "data"), {**DATASET, "revision": None})
    config["pairs"]["demo_lm"]["post"] = {**HUB, "revision": None}
    check(config, tmp_path)
    assert config["suites"]["demo"]["tasks"]["demo_math"]["revision"] is None


REVISION = "0123456789abcdef0123456789abcdef01234567"


def test_where_images_are():
    file = f"resources/images/dtd@{REVISION}/train.parquet"
    assert image_study.images("dtd", "train", REVISION) == file
    assert image_study.images("dtd", "test", None) == "resources/images/dtd@unpinned/test.parquet"
    made = "resources/demo/vision/data/digits/train.parquet"
    assert image_study.images("demo_digits", "train", None) == made
    with pytest.raises(ValueError, match=r"unknown split of demo_digits 'valid'\. Known: test, tr"):
        image_study.images("demo_digits", "valid", None)
    with pytest.raises(ValueError, match="demo_digits is made here and has no revision"):
        image_study.images("demo_digits", "test", REVISION)
    source = {"repo": "ufldl-stanford/svhn", "name": "cropped_digits", "split": "test"}
    assert image_study.image_source("svhn", "test", REVISION) == {**source, "revision": REVISION}
    assert image_study.image_source("svhn", "test", "unpinned") == {**source, "revision": None}


def test_the_key_of_a_revision_left_open_is_named():
    unpinned = {"revision": None}
    config = {
        "suites": {"all": {"tasks": {"dtd": unpinned, "svhn": {"revision": REVISION}}}},
        "losses": {
            "textures": {"data": {"task": "dtd", "split": "train", **unpinned}},
            "again": {"data": {"task": "dtd", "split": "train", **unpinned}},
            "other": {"data": {"task": "dtd", "split": "test", **unpinned}},
            "text": {"data": "text.jsonl"},
        },
    }
    keys = "suites.all.tasks.dtd.revision and losses.other.data.revision"
    assert image_study.image_key(config, "dtd", "test", "unpinned") == keys
    keys = "losses.textures.data.revision and losses.again.data.revision"
    assert image_study.image_key(config, "dtd", "train", "unpinned") == keys
    assert image_study.image_key(config, "dtd", "train", REVISION) is None


IMAGES = {"kind": "image_classification", "count": 8, "batch_size": 8}


def test_data_of_a_loss_may_be_images(tmp_path):
    config = copy.deepcopy(DEFAULT)
    config["losses"]["textures"] = {**IMAGES, "data": {"task": "dtd", "split": "train"}}
    check(config, tmp_path)
    assert "textures" not in study.fetched(config)
    file = "resources/images/dtd@unpinned/train.parquet"
    assert image_study.images_of(config, "dtd", "train") == file


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (
            ("losses", "demo_math", "data"),
            {"task": "dtd", "split": "train"},
            "losses.demo_math.data: next_token needs a file or a data set of the hub",
        ),
        (
            ("losses", "demo_digits", "data"),
            "workflow/tasks/demo/math.jsonl",
            "losses.demo_digits.data: image_classification needs an image task and a split",
        ),
        (
            ("losses", "demo_digits", "data"),
            {"task": "demo_digits", "split": "tset"},
            "losses.demo_digits.data: unknown split of demo_digits 'tset'. Did you mean 'test'?",
        ),
        (
            ("suites", "demo", "tasks", "demo_digits"),
            {"metric": "acc"},
            "suites.demo.tasks: 'demo_digits' is of images, 'demo_math' is not; make two suites",
        ),
        (
            ("suites", "digits", "tasks", "demo_digits", "metric"),
            "exact_match",
            "suites.digits.tasks.demo_digits: unknown metric 'exact_match'. Known: acc",
        ),
        (
            ("suites", "digits", "tasks", "demo_digits", "num_fewshot"),
            5,
            "suites.digits.tasks.demo_digits: an image task has no num_fewshot, filter or data",
        ),
        (
            ("suites", "digits", "chat_template"),
            True,
            "suites.digits.chat_template: got True, but a suite of images has none",
        ),
        (
            ("suites", "digits", "backend"),
            "vllm",
            "suites.digits.backend: got 'vllm', but a suite of images has none",
        ),
        (
            ("suites", "digits", "batch_size"),
            "auto",
            "suites.digits.batch_size: must be a whole number in a suite of images",
        ),
        (
            ("suites", "demo", "tasks", "demo_math", "revision"),
            REVISION,
            "suites.demo.tasks.demo_math.revision: only image tasks have one",
        ),
        (
            ("runs", 0, "suites"),
            ["digits"],
            "runs[0].suites: 'digits' is of images, but the models of 'demo_lm', a causal_lm pair,"
            " read texts",
        ),
        (
            ("runs", 4, "sweeps"),
            ["others"],
            "runs[4].sweeps, gradient: 'demo_math' is of texts, but the models of 'demo_digits'",
        ),
        (
            ("pairs", "demo_lm", "kind"),
            "clip",
            "pairs.demo_lm.kind: must be causal_lm for the world 'language'",
        ),
        (
            ("runs", 0, "losses"),
            ["demo_digits"],
            "runs[0].losses: 'demo_digits' is of images, but the models of 'demo_lm'",
        ),
        (
            ("figures", "vision_accuracy", "suite"),
            ["digits", "signs", "digits"],
            "figures.vision_accuracy.suite: 3 of them for 2 pairs; give one, or one for each",
        ),
    ],
)
def test_images_and_texts_do_not_mix(tmp_path, place, value, message):
    with pytest.raises(configuration.ConfigError) as error:
        check(changed(place, value), tmp_path)
    assert message in str(error.value)


def test_an_adapter_is_for_language_models(tmp_path):
    config = changed(("sweeps", "low_rank", "formats"), ["adapter"])
    check(config, tmp_path)
    config["runs"][4]["sweeps"] = ["low_rank"]
    with pytest.raises(
        configuration.ConfigError,
        match=r"runs\[4\].sweeps: 'low_rank' has the format 'adapter', which is for causal",
    ):
        check(config | {"figures": {}}, tmp_path)


def test_a_split_has_one_revision(tmp_path):
    config = copy.deepcopy(DEFAULT)
    data = {"task": "dtd", "split": "train"}
    config["losses"] |= {
        "one": {**IMAGES, "data": {**data, "revision": REVISION}},
        "two": {**IMAGES, "data": data},
    }
    with pytest.raises(
        configuration.ConfigError, match=r"losses.one.data and losses.two.data differ in their rev"
    ):
        check(config, tmp_path)


def test_only_a_post_of_clip_may_need_its_base():
    config = {"pairs": {"clip": {"kind": "clip"}, "lm": {"kind": "causal_lm"}}}
    assert image_study.base_of_tower(config, "clip", "post") == ["resources/models/clip/base"]
    assert image_study.base_of_tower(config, "clip", "base") == []
    assert image_study.base_of_tower(config, "lm", "post") == []


def test_two_sweeps_of_one_name_are_refused(tmp_path):
    text = (ROOT / "config.yaml").read_text().replace("  pruning:\n", "  dare_grid:\n")
    with pytest.raises(
        configuration.ConfigError, match=r"line \d+, sweeps.dare_grid: stands twice"
    ):
        check(yaml.safe_load(text), tmp_path, text)


def test_defaults_are_filled_in(tmp_path):
    config = copy.deepcopy(DEFAULT)
    check(config, tmp_path)
    assert config["sweeps"]["dare_grid"]["split_by"] == []
    assert config["suites"]["demo"]["tasks"]["demo_truth"]["filter"] == "none"


def test_a_study_lists_each_result_once(tmp_path):
    config = copy.deepcopy(DEFAULT)
    config["runs"].append(copy.deepcopy(config["runs"][0]))
    check(config, tmp_path)
    for paths in (study.scores(config), study.slopes(config), study.kept(config)):
        assert len(paths) == len(set(paths))
    assert "results/demo_lm/eval/ends/all/demo.json" in study.scores(config)
    exports = [f"results/demo_lm/exports/{name}/all" for name in ("pruning", "one_bit", "low_rank")]
    assert study.kept(config) == [*exports, "results/demo_lm_early/variants/early/all"]


def test_a_slice_that_no_sweep_has_is_refused(tmp_path):
    config = copy.deepcopy(DEFAULT)
    check(config, tmp_path)
    with pytest.raises(ValueError, match=r"unknown slice 'drop_rate=0\.2'\. Known: all"):
        study.variants(config, "demo_lm", "dare_grid", "drop_rate=0.2")


def test_what_a_sweep_reads_beside_its_pair():
    config = changed(("sweeps", "low"), {"method": "low_rank", "options": {"rank": 1}})
    config["sweeps"]["bias"] = {"method": "biased", "gradient": "demo_math"}
    config["sweeps"]["both"] = {"method": "combine", "deltas": ["demo_lm_early"], "onto": "demo_lm"}
    sources = {name: study.edit_sources(config, "p", name) for name in ("low", "bias", "both")}
    assert sources == {
        "low": {"vectors": "results/p/vectors"},
        "bias": {"gradient": "results/p/gradient/demo_math"},
        "both": {
            "onto": "resources/models/demo_lm/base",
            "deltas": [f"resources/models/demo_lm_early/{end}" for end in ("base", "post")],
        },
    }
    assert study.edit_sources(config, "p", "dare_grid") == {}


def test_a_figure_draws_the_sweeps_it_names_or_all_that_are_measured_so(tmp_path):
    config = copy.deepcopy(DEFAULT)
    check(config, tmp_path)
    spec = {"pair": ["demo_lm", "demo_lm_early"], "suite": "demo"}

    def drawn(spec, *measures):
        files = study.drawn(config, spec, measures)
        return [file.removeprefix("results/").removesuffix("/all/demo.json") for file in files]

    every = ["ends", *config["runs"][0]["sweeps"], "dare_seeds"]
    of_lm = [f"demo_lm/eval/{sweep}" for sweep in every]
    of_early = [f"demo_lm_early/eval/{sweep}" for sweep in ("ends", "early")]
    assert drawn(spec, "suite") == of_lm + of_early
    named = {**spec, "sweeps": ["early", "others"]}
    assert drawn(named, "suite") == ["demo_lm/eval/ends", "demo_lm/eval/others", *of_early]
    assert drawn({**spec, "pair": "demo_lm", "sweeps": ["low_rank"]}, "suite", "size") == [
        "demo_lm/eval/ends",
        "demo_lm/eval/low_rank",
        "demo_lm/sizes/low_rank/all.json",
    ]
    loss = {"pair": "demo_lm", "loss": "demo_math", "sweeps": ["low_rank", "dare_seeds"]}
    assert drawn(loss, "loss", "curvature") == [
        f"demo_lm/loss/{sweep}/all/demo_math.parquet" for sweep in ("ends", "low_rank")
    ] + ["demo_lm/curvature/demo_math.json"]


@pytest.mark.parametrize("task", ["human_eval_local", "humaneval", "mbpp_plus_instruct"])
def test_code_runs_if_the_config_allows_it(task, tmp_path):
    config = changed(("suites", "demo", "tasks"), {task: HUMAN_EVAL})
    check(config | {"allow_code_execution": True}, tmp_path)


def test_code_that_our_sandbox_does_not_reach_never_runs(tmp_path):
    config = changed(("suites", "demo", "tasks"), {"cruxeval_input_08": HUMAN_EVAL})
    with pytest.raises(
        configuration.ConfigError, match="of our sandbox; no task of lm-eval's 'crux"
    ):
        check(config | {"allow_code_execution": True}, tmp_path)
