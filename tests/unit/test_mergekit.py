"""A mergekit YAML becomes a study that computes what mergekit does, or is refused in one line."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from mergekit import sparsify as their_sparsify
from mergekit.config import (
    ConfigReader,
    InputSliceDefinition,
    MergeConfiguration,
    OutputSliceDefinition,
)
from mergekit.merge import run_merge
from mergekit.merge_methods import registry as their_registry
from mergekit.merge_methods.base import TensorEntry, TensorGroup
from mergekit.merge_methods.generalized_task_arithmetic import get_mask
from mergekit.options import MergeOptions
from mergekit.parameter_resolver import resolve_parameters
from safetensors.torch import load_file, save_file

from deltaedit import config as configuration
from deltaedit import edits, sweeps
from deltaedit.checkpoints import Checkpoint
from deltaedit.edit import Sources, write_variants
from deltaedit.errors import UserError
from deltaedit.mergekit import FILL_IN, METHODS, study
from deltaedit.streams import Stream

COMMIT = "0123456789abcdef" * 2 + "01234567"
BASE, POST, OTHER = (f"org/{name}@{COMMIT}" for name in ("base", "post", "other"))
SCRIPT = Path(__file__).parents[2] / "workflow/scripts/import_mergekit.py"


def yaml_of(method, *models, base=BASE, names=(POST, OTHER, f"org/third@{COMMIT}"), **top):
    """Return a mergekit YAML that merges models with these parameters."""
    entries = [{"model": name, "parameters": own} for name, own in zip(names, models, strict=False)]
    return yaml.safe_dump(
        {"merge_method": method, "base_model": base, "models": entries, "parameters": top}
    )


def sweep_of(*args, **kwargs):
    found, _ = study(yaml_of(*args, **kwargs))
    (sweep,) = found["sweeps"].values()
    return sweep


def notes_of(*args, **kwargs):
    return "\n".join(study(yaml_of(*args, **kwargs))[1])


# --- what becomes of a YAML -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "own", "top", "expected"),
    [
        ("task_arithmetic", {"weight": 0.3}, {}, ("expo", {"alpha": -0.7})),
        ("task_arithmetic", {"weight": 0.3}, {"lambda": 4}, ("expo", {"alpha": 0.2})),
        ("task_arithmetic", {"weight": 0.3}, {"normalize": True}, ("expo", {"alpha": 0.0})),
        ("task_arithmetic", {}, {"weight": "1e-1"}, ("expo", {"alpha": -0.9})),
        ("ties", {"weight": 0.5, "density": 0.2}, {}, ("ties", {"drop_rate": 0.8})),
        ("ties", {"weight": 0.5, "density": 1}, {"lambda": 2}, ("expo", {"alpha": 1.0})),
        ("ties", {"density": 0.7}, {"weight": 1, "density": 0.5}, ("ties", {"drop_rate": 0.3})),
        (
            "dare_linear",
            {"weight": 1, "density": 0.1},
            {},
            ("dare", {"drop_rate": 0.9, "rescale": "l1"}),
        ),
        (
            "dare_ties",
            {"weight": 1, "density": 0.1},
            {"rescale": False},
            ("dare", {"drop_rate": 0.9, "rescale": False}),
        ),
        (
            "della_linear",
            {"weight": 1, "density": 0.7, "epsilon": 0.07},
            {},
            ("della", {"drop_rate": 0.3, "window": 0.14, "rescale": "l1"}),
        ),
        (
            "della",
            {"weight": 2, "density": 0.6},
            {},
            ("della", {"drop_rate": 0.4, "window": 0.3, "rescale": "l1"}),
        ),
        (
            "breadcrumbs",
            {"weight": 1, "density": 0.9},
            {},
            ("breadcrumbs", {"drop_rate": 0.1, "outliers": 0.01}),
        ),
        (
            "breadcrumbs_ties",
            {"weight": 1, "density": 0.9, "gamma": 0.2},
            {},
            ("breadcrumbs", {"drop_rate": 0.1, "outliers": 0.1}),
        ),
    ],
)
def test_one_model_becomes_an_edit_of_its_delta(method, own, top, expected):
    sweep = sweep_of(method, own, **top)
    assert (sweep["method"], sweep["options"]) == expected
    assert "deltas" not in sweep


def test_a_factor_that_the_edit_does_not_have_becomes_combine():
    sweep = sweep_of("dare_ties", {"weight": 0.5, "density": 0.25}, **{"lambda": 3})
    assert sweep["method"] == "combine"
    assert sweep["options"] == {
        "weights": [0.5],
        "elect": False,
        "mean": False,
        "scale": 3.0,
        "edit": {"method": "dare", "drop_rate": 0.75, "rescale": "l1"},
    }


def test_several_models_become_combine():
    models = {"weight": 0.5}, {"weight": 0.3}
    sweep = sweep_of("ties", *models, density=0.2)
    assert sweep["method"] == "combine"
    assert sweep["deltas"] == ["other"]
    assert sweep["options"] == {
        "weights": [0.5, 0.3],
        "elect": True,
        "mean": True,
        "scale": 1.0,
        "edit": {"method": "ties", "drop_rate": 0.8},
    }
    assert sweep_of("dare_ties", *models, density=0.2)["options"]["mean"] is False
    assert sweep_of("task_arithmetic", *models)["options"]["elect"] is False
    mean = sweep_of("task_arithmetic", *models, normalize=True)["options"]
    assert (mean["scale"], mean["mean"]) == (1.25, False)


def test_pairs_have_the_base_and_a_model_each():
    names = f"one/same.name@{COMMIT}", f"two/same.name@{COMMIT}", "./_folder"
    found, _ = study(yaml_of("ties", *[{"weight": 1}] * 3, names=names, base="/models/base"))
    assert list(found["pairs"]) == ["same.name", "same.name-2", "folder"]
    assert all(
        pair["base"] == {"source": "path", "path": "/models/base"}
        for pair in found["pairs"].values()
    )
    posts = [pair["post"] for pair in found["pairs"].values()]
    assert posts[1] == {"source": "hub", "repo": "two/same.name", "revision": COMMIT}
    assert posts[2] == {"source": "path", "path": "./_folder"}
    assert found["sweeps"]["ties"]["deltas"] == ["same.name-2", "folder"]


def test_a_folder_that_exists_is_no_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org/post").mkdir(parents=True)
    found, _ = study(yaml_of("ties", {"weight": 1}, names=["org/post"]))
    assert found["pairs"]["post"]["post"] == {"source": "path", "path": "org/post"}


@pytest.mark.parametrize("revision", ["", "@v1.0", f"@{COMMIT[:39]}"])
def test_a_revision_that_is_no_commit_is_to_be_filled_in(revision):
    found, notes = study(yaml_of("ties", {"weight": 1}, names=[f"org/post{revision}"]))
    assert found["pairs"]["post"]["post"]["revision"] == FILL_IN
    (note,) = [note for note in notes if FILL_IN in note]
    assert note.startswith("org/post: ")
    assert note.endswith(revision[1:] or "main")


def check(found, tmp_path):
    """Check a study, with runs added, as the workflow does."""
    found["suites"] = {"demo": {"tasks": {"demo_truth": {"metric": "acc"}}, "batch_size": 1}}
    found["runs"] = [{"pair": "post", "sweeps": list(found["sweeps"]), "suites": ["demo"]}]
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(found))
    configuration.check(found, [file], tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_a_study_needs_only_runs_to_be_a_config(method, tmp_path):
    found, notes = study(yaml_of(method, {"weight": 0.5}, {"weight": 0.3}, density=0.5))
    assert notes[-1].startswith(f"add runs: sweep {method} on pair post,")
    check(found, tmp_path)


def test_a_study_that_is_not_filled_in_does_not_start(tmp_path):
    found, _ = study(yaml_of("ties", {"weight": 1}, names=["org/post"]))
    with pytest.raises(UserError, match=r"pairs\.post\.post\.revision: got 'FILL-IN-40-HEX'"):
        check(found, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"merge_method": "tie"}, "merge_method: unknown merge method 'tie'. Did you mean 'ties'?"),
        ({"merge_method": None}, "merge_method: unknown merge method 'None'"),
        ({"base_model": None}, "base_model: is missing"),
        ({"base_model": f"{BASE}+org/lora"}, "must be a folder or owner/name, without an adapter"),
        ({"models": None, "slices": []}, "models: must be a list; slices and modules cannot"),
        ({"models": []}, "models: lists none beside base_model"),
        ({"models": [{"model": BASE}]}, "models: lists none beside base_model"),
        ({"models": [POST]}, "models[0]: must be a mapping with a text as model, got 'org/post"),
        ({"models": [{"model": POST}] * 2}, "models[1]: 'org/post@" + COMMIT + "' stands twice"),
        ({"models": [{"model": "gpt2"}]}, "'gpt2': must be a folder or owner/name"),
        ({"models": [{"model": POST}]}, "models[0].parameters.weight: must be one value"),
        ({"parameters": [1]}, "parameters: must be a mapping, got [1]"),
        ({"tokenizer_source": "union"}, "tokenizer: tokens cannot be moved here"),
        ({"tokenizer": {"source": "base", "tokens": {}}}, "tokenizer: tokens cannot be moved"),
        ({"parameters": {"density": [0, 1]}}, "parameters.density: must be one value for all"),
        (
            {"parameters": {"density": [{"filter": "mlp", "value": 0.5}, {"value": 1}]}},
            "parameters.density: must be one value for all layers and tensors, got [{'filter'",
        ),
        ({"parameters": {"normalize": "no"}}, "parameters.normalize: must be one value"),
        ({"parameters": {"density": float("nan")}}, "parameters.density: must be one value"),
        ({"parameters": {"density": 0}}, "parameters: as options here, drop_rate must be in"),
        ({"parameters": {"density": 0.5, "rescale": True}}, "unknown option 'rescale'"),
        ({"merge_method": "della", "parameters": {"density": 0.9}}, "drop_rate - window/2 must be"),
        (
            {"models": [{"model": POST}, {"model": OTHER, "parameters": {"density": 0.7}}]}
            | {"parameters": {"weight": 1, "density": 0.5}},
            "models[1].parameters.density: must be 0.5 as for the first model, got 0.7",
        ),
    ],
)
def test_what_a_sweep_cannot_do_is_refused_in_one_line(change, message):
    merge = yaml.safe_load(yaml_of("ties", {"weight": 1})) | change
    merge = {key: value for key, value in merge.items() if value is not None}
    with pytest.raises(UserError) as raised:
        study(yaml.safe_dump(merge))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["a: [", "- a", "", "a: b\n---\nc: d"])
def test_what_is_no_merge_is_refused_in_one_line(text):
    with pytest.raises(UserError) as raised:
        study(text)
    assert "\n" not in str(raised.value)


# --- notes ----------------------------------------------------------------------------------------


def test_notes_tell_what_mergekit_computes_differently():
    assert "L1 norm, as mergekit since 0.1.0" in notes_of("dare_ties", {"weight": 1}, density=0.5)
    assert "L1" not in notes_of("dare_ties", {"weight": 1}, density=0.5, rescale=False)
    assert "one global generator" in notes_of("della", {"weight": 1}, density=0.5)
    assert "ranks along axis 1" in notes_of("della", {"weight": 1}, density=0.5)
    assert "global generator" not in notes_of("ties", {"weight": 1}, density=0.5)
    assert "floor(density n)" in notes_of("ties", {"weight": 1}, density=0.5)
    assert "equal magnitudes" in notes_of("breadcrumbs", {"weight": 1}, density=0.5)
    assert "zeroes the whole delta" in notes_of("breadcrumbs", {"weight": 1}, density=0.5)
    assert "floor" not in notes_of("breadcrumbs", {"weight": 1}), "density 1 edits nothing"


def test_notes_tell_what_becomes_of_the_weights():
    assert "only weight by itself: 0.3 has no effect" in notes_of("ties", {"weight": 0.3})
    assert "normalize" not in notes_of("ties", {"weight": 1})
    assert "normalize" not in notes_of("dare_ties", {"weight": 0.3})
    two = [{"weight": 0.5}, {"weight": 0.3}]
    assert "sum of the weights, 0.8" in notes_of("task_arithmetic", *two, normalize=True)
    assert "normalize" not in notes_of("ties", *two)


@pytest.mark.parametrize(
    ("types", "note"),
    [
        ({}, "mergekit computes in the models' number type"),
        ({"dtype": "bfloat16"}, "computes in bfloat16, rounds after each step and stores bfloat16"),
        (
            {"dtype": "float32", "out_dtype": "float16"},
            "in float32, rounds after each step and sto",
        ),
        ({"dtype": "float32", "out_dtype": "float16"}, "stores float16; here float32 is rounded"),
    ],
)
def test_notes_tell_the_number_types(types, note):
    _, notes = study(yaml.safe_dump(yaml.safe_load(yaml_of("ties", {"weight": 1})) | types))
    assert note in "\n".join(notes)


def test_notes_tell_what_is_ignored():
    merge = yaml.safe_load(yaml_of("task_arithmetic", {"weight": 1, "lambda": 3}, int8_mask=True))
    merge["models"].insert(0, {"model": BASE, "parameters": {"weight": 7}})
    merge["models"][1]["density"] = 0.5
    merge |= {"chat_template": "auto", "tokenizer_source": "base"}
    found, notes = study(yaml.safe_dump(merge))
    ignored = [note.partition(": ignored")[0] for note in notes if ": ignored" in note]
    assert ignored == [
        "chat_template",
        "parameters.int8_mask",
        "models[0].parameters.weight",
        "models[1].density",
        "models[1].parameters.lambda",
    ]
    assert found["sweeps"]["task_arithmetic"]["options"] == {"alpha": 0.0}
    assert list(found["pairs"]) == ["post"]


# --- the script -----------------------------------------------------------------------------------


def run_script(*args):
    return subprocess.run([sys.executable, SCRIPT, *args], capture_output=True, text=True)


def test_the_script_prints_notes_and_a_study(tmp_path):
    text = yaml_of("ties", {"weight": 0.5}, {"weight": 0.3}, density=0.2)
    (tmp_path / "merge.yaml").write_text(text)
    ran = run_script(tmp_path / "merge.yaml")
    found, notes = study(text)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert yaml.safe_load(ran.stdout) == found
    assert "&" not in ran.stdout, "no YAML anchors"
    head = [line for line in ran.stdout.splitlines() if line.startswith("#")]
    said = " ".join(line.lstrip("# -") for line in head)
    assert said == " ".join(notes)


def test_the_script_s_errors_are_one_line(tmp_path):
    (tmp_path / "merge.yaml").write_text("a: [")
    for file in ("merge.yaml", "missing.yaml"):
        ran = run_script(tmp_path / file)
        assert (ran.returncode, ran.stdout) == (1, "")
        assert ran.stderr.startswith(f"error: {tmp_path / file}")
        assert ran.stderr.count("\n") == 1


# --- the same numbers as mergekit's own functions -------------------------------------------------


def merged(text, tensors):
    """Merge tensors, by the model's name, with mergekit: its reading of the YAML and its method."""
    config = MergeConfiguration.model_validate(yaml.safe_load(text))
    method = their_registry.get(config.merge_method)
    models = [model.model for model in config.models]
    slices = [
        InputSliceDefinition(model=model.model, layer_range=(0, 1), parameters=model.parameters)
        for model in config.models
    ]
    reader = ConfigReader(config=config, t=0, slice_out=OutputSliceDefinition(sources=slices))
    parameters, own = resolve_parameters(
        method.spec,
        tensor_name="w",
        inputs=dict.fromkeys(models, "w"),
        sources=reader.parameter_sources,
        base_model=config.base_model,
    )
    for parameter in method.spec.input_parameters:
        parameters[parameter.name] = {model: own[model][parameter.name] for model in models}
    base = TensorEntry(config.base_model, tensors[str(config.base_model)], is_base=True)
    entries = [base, *(TensorEntry(model, tensors[str(model)]) for model in models)]
    (result,) = method([TensorGroup(tuple(entries))], parameters=parameters)
    return result


def edited(text, tensors):
    """Edit the deltas with the sweep that the YAML becomes."""
    found, _ = study(text)
    (sweep,) = found["sweeps"].values()
    method, params = edits.parse(sweep["method"], sweep["options"])
    models = [entry["model"] for entry in yaml.safe_load(text)["models"]]
    delta, *more = [tensors[model] - tensors[BASE] for model in models]
    deltas = {"deltas": more} if "deltas" in sweep else {}
    return method.apply(delta, params, rng=Stream(0, "w"), **deltas)


@pytest.fixture
def tensors():
    """Three models whose base is zero, so that a merged model is the merged delta, to the bit."""
    random = torch.Generator().manual_seed(0)
    names = POST, OTHER, f"org/third@{COMMIT}"
    made = {name: torch.randn(40, 50, generator=random) for name in names}
    assert all(tensor.abs().unique().numel() == 2000 for tensor in made.values())
    return {BASE: torch.zeros(40, 50), **made}


@pytest.fixture
def same_draws(monkeypatch):
    """Let mergekit draw its masks from the streams that the edits of `edited` draw from."""
    calls = []

    def bernoulli(kept):
        draws = Stream(0, "w").child(len(calls)).uniform(kept.numel())
        calls.append(kept)
        return (torch.from_numpy(draws).reshape(kept.shape) >= 1 - kept).to(kept.dtype)

    monkeypatch.setattr(torch, "bernoulli", bernoulli)
    return calls


ONE = [{"weight": 1}]
SCALED = [{"weight": -0.5}]
THREE = [{"weight": 0.5}, {"weight": 0.3}, {"weight": -0.7}]
EQUAL = [{"weight": 1}] * 3
RANDOM = [method for method in METHODS if method.startswith("d")]


@pytest.mark.parametrize("top", [{}, {"normalize": True}, {"normalize": False, "lambda": 1.5}])
@pytest.mark.parametrize("models", [ONE, SCALED, THREE, EQUAL], ids=["1", "-.5", "3", "3 equal"])
@pytest.mark.parametrize("method", METHODS)
def test_the_merged_delta_is_mergekit_s(method, models, top, tensors, same_draws):
    text = yaml_of(method, *models, density=0.3, **top)
    ours, theirs = edited(text, tensors), merged(text, tensors)
    assert len(same_draws) == (len(models) if method in RANDOM else 0)
    assert torch.equal(ours != 0, theirs != 0), "not the same entries are kept"
    largest = theirs.abs().max().item()  # cancelling weights make it large
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6 * largest)


@pytest.mark.parametrize("method", RANDOM)
def test_without_rescaling_too(method, tensors, same_draws):
    text = yaml_of(method, *EQUAL, density=0.3, rescale=False)
    torch.testing.assert_close(edited(text, tensors), merged(text, tensors))


@pytest.mark.parametrize(
    "own",
    [
        {"gamma": 0.1},
        {"gamma": 0.0},
        {"gamma": 0.6},  # more than is dropped
        {"gamma": 0.1, "density": 1},
    ],
)
def test_breadcrumbs_counts_are_mergekit_s(own, tensors):
    text = yaml_of("breadcrumbs", {"weight": 1, "density": 0.7} | own)
    assert torch.equal(edited(text, tensors), merged(text, tensors))


@pytest.mark.parametrize("method", ["dare", "della"])
def test_rescale_l1_gives_back_the_norm_as_mergekit_does(method, tensors):
    delta = tensors[POST]
    options = {"drop_rate": 0.7} | ({"window": 0.2} if method == "della" else {})
    module, plain = edits.parse(method, options | {"rescale": False})
    kept = module.apply(delta, plain, rng=Stream(0, "w"))
    ours = module.apply(
        delta, edits.parse(method, options | {"rescale": "l1"})[1], rng=Stream(0, "w")
    )
    theirs = their_sparsify.rescaled_masked_tensor(
        delta, (kept != 0).float(), their_sparsify.RescaleNorm.l1
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    assert ours.abs().sum().item() == pytest.approx(delta.abs().sum().item(), rel=1e-5)


@pytest.mark.parametrize("tiny", [0.0, 1e-12])
def test_rescale_l1_leaves_a_delta_of_nothing_as_mergekit_does(tiny, tensors, same_draws):
    small = tensors | {POST: tensors[POST] * tiny}
    text = yaml_of("dare_linear", *ONE, density=0.5)
    assert torch.equal(edited(text, small), merged(text, small))


def test_election_is_mergekit_s_where_signs_cancel():
    deltas = torch.tensor([[1.0, 2.0, -1.0, 0.0, 0.0], [-1.0, -3.0, 1.0, 0.0, -2.0]])
    method, params = edits.parse("combine", {"weights": [1.0, 1.0], "elect": True, "mean": True})
    ours = method.apply(deltas[0], params, rng=Stream(0, "w"), deltas=[deltas[1]])
    mask = get_mask(deltas, "sum")
    assert torch.equal(ours, (deltas * mask).sum(0) / mask.sum(0).clamp(min=1))


@pytest.mark.parametrize(("density", "size", "theirs", "ours"), [(0.25, 10, 2, 3), (0.1, 3, 1, 1)])
def test_where_counts_are_no_whole_numbers_one_more_is_kept(density, size, theirs, ours):
    delta = torch.arange(1.0, size + 1)
    tensors = {BASE: torch.zeros(size), POST: delta}
    text = yaml_of("ties", {"weight": 1, "density": density})
    assert (merged(text, tensors) != 0).sum() == theirs
    assert (edited(text, tensors) != 0).sum() == ours


# --- whole checkpoints ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tiny_pair, tmp_path_factory):
    base, post = tiny_pair()
    other = tmp_path_factory.mktemp("other")
    for file in post.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    random = torch.Generator().manual_seed(1)
    weights = load_file(post / "model.safetensors")
    for tensor in weights.values():
        tensor += torch.randn(tensor.shape, generator=random) * 0.01
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    return base, post, other


@pytest.mark.parametrize(
    ("method", "models", "top"),
    [
        ("task_arithmetic", [{"weight": 1.4}], {}),
        ("task_arithmetic", [{"weight": 0.6}, {"weight": 0.5}], {"normalize": True}),
        ("ties", [{"weight": 1}], {"density": 0.25}),
        ("ties", [{"weight": 0.6}, {"weight": 0.5}], {"density": 0.25, "lambda": 1.5}),
        ("breadcrumbs", [{"weight": 1}], {"density": 0.75, "gamma": 0.125}),
    ],
)
def test_a_whole_checkpoint_is_mergekit_s(method, models, top, folders, tmp_path):
    names = [str(folder) for folder in folders]
    text = yaml_of(method, *models, base=names[0], names=names[1:], **top)

    config = MergeConfiguration.model_validate(yaml.safe_load(text))
    options = MergeOptions(quiet=True, copy_tokenizer=False, write_model_card=False)
    run_merge(config, str(tmp_path / "theirs"), options)
    theirs = load_file(tmp_path / "theirs/model.safetensors")

    found, _ = study(text)
    ends = [
        (Checkpoint(pair["base"]["path"]), Checkpoint(pair["post"]["path"]))
        for pair in found["pairs"].values()
    ]
    (variant,) = sweeps.slices(method, found["sweeps"][method], 0)["all"]
    (tmp_path / "ours").mkdir()
    base, post = ends[0]
    sources = Sources(base=base, post=post, deltas=ends[1:])
    write_variants(sources, [vars(variant)], [tmp_path / "ours"], {"pair": "tiny"}, threads=1)
    ours = load_file(tmp_path / "ours/model.safetensors")

    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1.2e-7, msg=name)
