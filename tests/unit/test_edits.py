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


# --- ties -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "size", "kept"), [(0.9, 1000, 100), (0.29, 100, 71), (0.5, 3, 2)])
def test_ties_keeps_exactly_the_count(p, size, kept):
    delta = torch.randn(size, generator=generator_for(0, "d"))
    out = edited(delta, "ties", drop_rate=p)
    assert (out != 0).sum() == kept
    assert torch.all((out == 0) | (out == delta))
    assert out[out != 0].abs().min() >= delta[out == 0].abs().max()


def test_ties_keeps_the_first_of_equal_magnitudes():
    delta = torch.tensor([1.0, -2.0, 2.0, -2.0, 3.0])
    assert edited(delta, "ties", drop_rate=0.4).tolist() == [0, -2, 2, 0, 3]


@pytest.mark.parametrize("shape", [(0,), (4, 5), ()])
def test_ties_of_an_all_zero_or_empty_delta_is_itself(shape):
    delta = torch.zeros(shape)
    assert torch.equal(edited(delta, "ties", drop_rate=0.5), delta)


# --- della ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7, 33), (4, 5, 6), (9,), (5, 1), ()])
def test_della_drops_with_mean_p_in_each_row(shape):
    della, params = edits.parse("della", {"drop_rate": 0.3, "window": 0.2})
    delta = torch.randn(shape, generator=generator_for(0, "d"))
    probability = della.drop_probability(delta, params)
    rows = probability.double().reshape(-1, shape[-1] if shape else 1)
    torch.testing.assert_close(rows.mean(dim=1), torch.full((len(rows),), 0.3).double())


def test_della_drops_smaller_magnitudes_more_often():
    della, params = edits.parse("della", {"drop_rate": 0.3, "window": 0.2})
    delta = torch.tensor([[0.5, -3.0, 1.0], [2.0, 2.0, -2.0]])
    wanted = torch.tensor([[0.4, 0.2, 0.3], [0.4, 0.3, 0.2]])
    torch.testing.assert_close(della.drop_probability(delta, params), wanted)


def test_della_without_window_is_dare(delta):
    della = edited(delta, "della", drop_rate=0.25, window=0.0)
    torch.testing.assert_close(della, edited(delta, "dare", drop_rate=0.25))


def test_della_kept_entries_are_divided_by_their_own_probability(delta):
    della, params = edits.parse("della", {"drop_rate": 0.5, "window": 0.4})
    out = edited(delta, "della", drop_rate=0.5, window=0.4)
    kept = out != 0
    wanted = delta / (1 - della.drop_probability(delta, params))
    assert torch.equal(out[kept], wanted[kept])
    raw = edited(delta, "della", drop_rate=0.5, window=0.4, rescale=False)
    assert torch.equal(raw[kept], delta[kept])


def test_della_is_unbiased():
    delta = torch.linspace(1, 2, 400).expand(2000, 400)
    out = edited(delta, "della", drop_rate=0.5, window=0.6).double()
    # The variance of an entry is delta^2 P/(1 - P), at most 4 * 0.8/0.2 here.
    assert (out.mean(dim=0) - delta[0]).abs().max() < 6 * (16 / 2000) ** 0.5
    assert abs(out.mean() - delta.mean()) < 5 * (16 / delta.numel()) ** 0.5


@pytest.mark.parametrize("options", [(0.1, 0.3), (0.9, 0.2), (0.5, -0.1)])
def test_della_refuses_probabilities_outside_the_unit_interval(options):
    with pytest.raises(ValueError, match="drop_rate - window/2 must be at least 0"):
        edits.parse("della", dict(zip(("drop_rate", "window"), options, strict=True)))


# --- low rank -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (10, 4, 5)])
@pytest.mark.parametrize("rank", [0, 1, 7])
def test_low_rank_meets_the_error_of_eckart_and_young(shape, rank):
    delta = torch.randn(shape, generator=generator_for(0, "d"))
    out = edited(delta, "low_rank", rank=rank)
    singular = torch.linalg.svdvals(delta.flatten(1).double())
    error = (out.double() - delta.double()).norm()
    torch.testing.assert_close(error, singular[rank:].norm(), rtol=1e-6, atol=0)
    assert torch.linalg.matrix_rank(out.flatten(1), rtol=1e-5) == rank


@pytest.mark.parametrize(("sparsity", "rank"), [(0.9, 1), (0.8, 2), (0.0, 10), (1.0, 0)])
def test_sparsity_counts_in_decimals(sparsity, rank):
    delta = torch.randn(10, 12, generator=generator_for(0, "d"))
    by_rank = edited(delta, "low_rank", rank=rank)
    assert torch.equal(edited(delta, "low_rank", sparsity=sparsity), by_rank)


@pytest.mark.parametrize("shape", [(7,), (), (0, 4)])
def test_low_rank_leaves_what_has_no_rank(shape):
    delta = torch.randn(shape, generator=generator_for(0, "d"))
    assert torch.equal(edited(delta, "low_rank", rank=0), delta)


@pytest.mark.parametrize("options", [{}, {"rank": 1, "sparsity": 0.5}])
def test_low_rank_wants_rank_or_sparsity(options):
    with pytest.raises(ValueError, match="give either rank or sparsity"):
        edits.parse("low_rank", options)
