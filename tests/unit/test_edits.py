"""The contract of every edit method, then the properties of each."""

from pathlib import Path

import pytest
import torch

from deltaedit import edits
from deltaedit.checkpoints import generator_for


@pytest.fixture
def delta():
    return torch.randn(64, 33, generator=generator_for(0, "delta"))


def edited(delta, method, seed=0, **options):
    module, params = edits.parse(method, options)
    return module.apply(delta, params, rng=generator_for(seed, "w"))


@pytest.mark.parametrize("shape", [(64, 33), (7,), (0, 5), (3, 4, 5)])
@pytest.mark.parametrize("name", edits.NAMES)
def test_contract(name, shape):
    method = edits.load(name)
    delta = torch.randn(shape, generator=generator_for(0, "delta"))
    before = delta.clone()
    first = method.apply(delta, method.EXAMPLE, rng=generator_for(1, "w"))
    again = method.apply(delta, method.EXAMPLE, rng=generator_for(1, "w"))
    assert first.shape == delta.shape
    assert first.dtype == delta.dtype
    assert torch.equal(delta, before), "an edit must not write into its input"
    assert torch.equal(first, again), "an edit must be a function of its arguments"
    assert "Source:" in method.apply.__doc__
    assert "Scope:" in method.apply.__doc__
    assert method.Params.__dataclass_params__.frozen


def test_dare_entries_are_zero_or_rescaled(delta):
    out = edited(delta, "dare", drop_rate=0.75)
    assert torch.all((out == 0) | (out == delta * 4))


@pytest.mark.parametrize("p", [0.2, 0.9])
def test_dare_drops_the_stated_share(p):
    n = 200_000
    out = edited(torch.ones(n), "dare", drop_rate=p)
    share = (out == 0).double().mean().item()
    assert abs(share - p) < 5 * (p * (1 - p) / n) ** 0.5  # five standard errors


@pytest.mark.parametrize(("p", "k"), [(0.3, -1.0), (0.9, 0.5), (0.7, 1.5), (0.25, 0.0)])
def test_dare_takes_two_values_whose_mean_is_one(delta, p, k):
    ratio = edited(delta, "dare", drop_rate=p, dropped_scale=k) / delta
    kept = (1 - k * p) / (1 - p)
    assert torch.all(
        torch.isclose(ratio, torch.tensor(k)) | torch.isclose(ratio, torch.tensor(kept))
    )
    # The two values and their probabilities have mean 1 and variance (k - 1)^2 p / (1 - p).
    assert p * k + (1 - p) * kept == pytest.approx(1)
    variance = p * (k - 1) ** 2 + (1 - p) * (kept - 1) ** 2
    assert variance == pytest.approx((k - 1) ** 2 * p / (1 - p))


@pytest.mark.parametrize(("p", "k"), [(0.3, -1.0), (0.7, 0.5)])
def test_dare_multiplier_has_the_mean_and_variance_of_its_formula(p, k):
    n = 400_000
    multiplier = edited(torch.ones(n), "dare", drop_rate=p, dropped_scale=k).double()
    variance = (k - 1) ** 2 * p / (1 - p)
    assert abs(multiplier.mean().item() - 1) < 5 * (variance / n) ** 0.5
    assert multiplier.var().item() == pytest.approx(variance, rel=0.02)


def test_dare_with_k_one_is_the_identity(delta):
    assert torch.equal(edited(delta, "dare", drop_rate=0.9, dropped_scale=1.0), delta)


def test_dare_at_rate_zero_is_the_identity(delta):
    assert torch.equal(edited(delta, "dare", drop_rate=0.0), delta)


def test_drop_only_keeps_the_others_as_they_are(delta):
    out = edited(delta, "dare", drop_rate=0.75, rescale=False)
    assert torch.all((out == 0) | (out == delta))
    assert 0 < (out == 0).sum() < out.numel()


def test_drop_only_and_dare_drop_the_same_entries(delta):
    dropped = edited(delta, "dare", drop_rate=0.75, rescale=False) == 0
    assert torch.equal(dropped, edited(delta, "dare", drop_rate=0.75) == 0)


def test_dare_depends_on_the_seed(delta):
    first, other = (edited(delta, "dare", seed=seed, drop_rate=0.75) for seed in (0, 1))
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("alpha", "factor"), [(0.0, 1.0), (-1.0, 0.0), (0.5, 1.5)])
def test_expo_scales_the_delta(delta, alpha, factor):
    assert torch.equal(edited(delta, "expo", alpha=alpha), delta * factor)


def test_streams_differ_by_tensor_and_by_seed():
    draws = {
        torch.rand(1, generator=generator_for(seed, name)).item()
        for seed in (0, 1)
        for name in ("a", "b")
    }
    assert len(draws) == 4


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("dair", {"drop_rate": 0.5}, "Did you mean 'dare'"),
        ("dare", {"drop_rat": 0.5}, "unknown option 'drop_rat'. Did you mean 'drop_rate'"),
        ("dare", {}, "option 'drop_rate' is missing"),
        ("dare", {"drop_rate": 1}, r"drop_rate must be in \[0, 1\), got 1.0"),
        ("dare", {"drop_rate": -0.1}, r"drop_rate must be in \[0, 1\)"),
        ("dare", {"drop_rate": float("nan")}, r"drop_rate must be in \[0, 1\)"),
        ("dare", {"drop_rate": "1e-1"}, "drop_rate must be a number, got '1e-1'"),
        ("dare", {"drop_rate": True}, "drop_rate must be a number, got True"),
        ("dare", {"drop_rate": 0.5, "rescale": 1}, "rescale must be true or false, got 1"),
        ("expo", {"alpha": float("inf")}, "alpha must be in"),
    ],
)
def test_bad_options_are_refused(method, options, message):
    with pytest.raises(ValueError, match=message):
        edits.parse(method, options)


def test_a_new_method_is_one_new_file(tmp_path, monkeypatch):
    source = Path(edits.__file__).with_name("expo.py")
    text = source.read_text().replace("1 + params.alpha", "2 + params.alpha")
    (tmp_path / "longer.py").write_text(text)
    monkeypatch.setattr(edits, "__path__", [*edits.__path__, str(tmp_path)])
    monkeypatch.setattr(edits, "NAMES", edits.registry.names(edits.__path__))
    assert torch.equal(edited(torch.ones(3), "longer", alpha=0.5), torch.full((3,), 2.5))
