"""Models as losses take them: spread over devices, checkpointed, under autocast."""

import accelerate
import pytest
import torch
from transformers import AutoModelForCausalLM

from deltaedit import files, loss_change, models
from deltaedit.checkpoints import Checkpoint
from deltaedit.errors import UserError
from deltaedit.losses import build

PLAIN = {"autocast": None, "gradient_checkpointing": False}


@pytest.fixture
def pair(tiny_pair):
    return tiny_pair()


@pytest.fixture
def loss(tokenizer, tmp_path):
    answers = ["3 + 5 = 8 #### 8", "lake cave", "red"]
    rows = [{"prompt": "question : what is it ? answer :", "answer": answer} for answer in answers]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(f"{files.json.dumps(row)}\n" for row in rows))
    spec = {"kind": "next_token", "options": {}, "count": 3, "batch_size": 2}
    return build(spec, data, tokenizer)


def slopes(model, pair, loss):
    """Return the slope of each parameter halfway from post to base."""
    segment = loss_change.Segment(model, Checkpoint(pair[1]), Checkpoint(pair[0]))
    segment.move_to(0.5)
    by_batch = loss_change.slopes(model, loss, segment.step)
    return {name: sum(shares) for name, shares in by_batch.items()}


def saved_bytes(model, loss):
    """Return the bytes, beside weights, that a forward pass keeps for backward."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        total = sum(weight * part(model) for weight, part in loss)
    found = sum(kept.values())
    total.backward()
    model.zero_grad()
    return found


def test_checkpointing_changes_the_memory_and_not_the_slopes(pair, loss):
    plain = models.load_for_loss(pair[1], PLAIN)
    checkpointed = models.load_for_loss(pair[1], PLAIN | {"gradient_checkpointing": True})
    assert not checkpointed.training, "no dropout"
    wanted = slopes(plain, pair, loss)
    assert slopes(checkpointed, pair, loss) == pytest.approx(wanted, rel=1e-6)
    assert loss_change.measure(checkpointed, loss) == loss_change.measure(plain, loss)
    assert saved_bytes(checkpointed, loss) < 0.5 * saved_bytes(plain, loss)


def test_a_model_without_layers_to_checkpoint_is_refused(pair, monkeypatch):
    monkeypatch.setattr(models, "GradientCheckpointingLayer", torch.nn.Conv3d)
    with pytest.raises(UserError, match=r"^LlamaForCausalLM has no layers that .* false$"):
        models.load_for_loss(pair[1], PLAIN | {"gradient_checkpointing": True})


@pytest.mark.parametrize("checkpointing", [False, True])
def test_autocast_is_for_activations_alone(pair, loss, checkpointing):
    spec = {"autocast": "bfloat16", "gradient_checkpointing": checkpointing}
    cast = models.load_for_loss(pair[1], spec)
    seen = []
    cast.model.layers[0].mlp.register_forward_hook(lambda *args: seen.append(args[-1].dtype))
    losses, gradient = loss_change.gradient(cast, loss)
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in cast.parameters()} == {torch.float32}
    assert {g.dtype for g in gradient.values()} == {torch.float32}
    plain = models.load_for_loss(pair[1], PLAIN)
    assert losses == pytest.approx(loss_change.measure(plain, loss), rel=1e-2)
    found, wanted = slopes(cast, pair, loss), slopes(plain, pair, loss)
    assert sum(found.values()) == pytest.approx(sum(wanted.values()), rel=0.05)
    assert found != wanted


def test_several_gpus_share_the_layers(pair, monkeypatch):
    asked = []
    original = AutoModelForCausalLM.from_pretrained

    def load(folder, device_map=None, **options):
        asked.append(device_map)
        return original(folder, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", load)
    for count in (0, 1, 2):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        models.load_causal_lm(pair[1], torch.float32)
    assert asked == [None, None, "auto"]


def test_a_model_that_is_spread_has_the_same_slopes(pair, loss):
    wanted = slopes(models.load_for_loss(pair[1], PLAIN), pair, loss)
    model = models.load_causal_lm(pair[1], torch.float32)
    places = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "cpu"}
    places |= {"model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    model = accelerate.dispatch_model(model, places, force_hooks=True)
    assert hasattr(model.model.layers[1], "_hf_hook")
    spec = PLAIN | {"gradient_checkpointing": True}
    assert slopes(models.prepared(model, spec), pair, loss) == pytest.approx(wanted, rel=1e-6)


def test_a_model_that_is_offloaded_is_refused(pair, loss):
    model = models.load_causal_lm(pair[1], torch.float32)
    model = accelerate.cpu_offload(model, torch.device("cpu"))
    base, post = map(Checkpoint, pair)
    refused = pytest.raises(UserError, match=r"^the model does not fit on the GPUs of the job.*$")
    with refused:
        loss_change.Segment(model, post, base)
    with refused:
        loss_change.Probe(model, base, post, seed=0)
    with refused:
        loss_change.gradient(model, loss)
