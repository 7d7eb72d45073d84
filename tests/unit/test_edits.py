"""The contract of every edit method, then the properties of each."""

from pathlib import Path

import numpy as np
import pytest
import torch

from deltaedit import edits, kernels
from deltaedit.checkpoints import generator_for


def normal(shape, draw=None):
    """Return a normal sample, float32: of numbers that need all their bits."""
    seed = 0 if draw is None else int(draw.key)
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@pytest.fixture
def delta():
    return torch.from_numpy(normal((64, 33)))


def edited(delta, method, seed=0, **options):
    module, params = edits.parse(method, options)
    return module.apply(delta, params, rng=generator_for(seed, "w"))


@pytest.mark.parametrize("shape", [(64, 33), (7,), (0, 5), (3, 4, 5)])
@pytest.mark.parametrize("name", edits.NAMES)
def test_contract(name, shape):
    method = edits.load(name)
    delta = torch.from_numpy(normal(shape))
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


def test_a_torch_generator_is_a_stream_too(delta):
    dare, params = edits.parse("dare", {"drop_rate": 0.5})
    draws = [torch.Generator().manual_seed(3) for _ in range(3)]
    first, again = (dare.apply(delta, params, rng=draw) for draw in draws[:2])
    assert torch.equal(first, again)
    used = draws[2]
    torch.rand(1, generator=used)
    assert not torch.equal(first, dare.apply(delta, params, rng=used))


def test_streams_differ_by_tensor_and_by_seed():
    draws = {generator_for(seed, name).uniform(1).item() for seed in (0, 1) for name in ("a", "b")}
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
        (
            "dare",
            {"drop_rate": 0.5, "rescale": 1},
            "rescale must be true or false or 'l1', got 1",
        ),
        ("bitdelta", {"magnitude": "median"}, "magnitude must be one of 'mean', 'normal'"),
        ("bitdelta", {"blocks": 0}, r"blocks must be in \[1, 65536\], got 0"),
        ("bitdelta", {"blocks": 2, "magnitude": "normal"}, "magnitude normal has one block"),
        ("biased", {}, "option 'by' is missing"),
        ("combine", {"weights": []}, "one number per delta"),
        ("combine", {"weights": [float("nan")]}, r"weights must be in \[-100, 100\]"),
        ("combine", {"edit": {"method": "biased", "by": "product"}}, "cannot be done within"),
        ("dare", {"drop_rate": 0.5, "dropped_scale": 1, "rescale": "l1"}, "needs dropped_scale 0"),
        ("combine", {"weights": [1, "x"]}, "weights must be a number, got 'x'"),
        ("combine", {"edit": {"drop_rate": 0.5}}, "edit: 'method' is missing"),
        ("combine", {"edit": {"method": "dair"}}, "Did you mean 'dare'"),
        ("combine", {"edit": {"method": "low_rank", "rank": 1}}, "cannot be done within combine"),
        ("breadcrumbs", {"drop_rate": 0.1, "outliers": 0.2}, "outliers in"),
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
    delta = torch.from_numpy(normal((size,)))
    out = edited(delta, "ties", drop_rate=p)
    assert (out != 0).sum() == kept
    assert torch.all((out == 0) | (out == delta))
    assert out[out != 0].abs().min() >= delta[out == 0].abs().max()


def test_ties_keeps_the_last_of_equal_magnitudes():
    delta = torch.tensor([1.0, -2.0, 2.0, -2.0, 3.0])
    assert edited(delta, "ties", drop_rate=0.4).tolist() == [0, 0, 2, -2, 3]


@pytest.mark.parametrize("shape", [(0,), (4, 5), ()])
def test_ties_of_an_all_zero_or_empty_delta_is_itself(shape):
    delta = torch.zeros(shape)
    assert torch.equal(edited(delta, "ties", drop_rate=0.5), delta)


# --- della ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [33, 6, 2, 1])
def test_della_drops_with_mean_p_in_each_row(row):
    della, params = edits.parse("della", {"drop_rate": 0.3, "window": 0.2})
    dropped = della.drop_probabilities(row, params)
    assert dropped.mean() == pytest.approx(0.3, rel=1e-12)
    assert row == 1 or (dropped[0], dropped[-1]) == pytest.approx((0.4, 0.2))


@pytest.mark.parametrize("shape", [(40, 333), (3, 5, 64), (100,), (5, 1)])
def test_ranks_are_those_of_a_stable_sort_in_each_row(shape):
    # Few different magnitudes, and many: with ties, zeros, -0, and all bits in use.
    draw = generator_for(0, "d")
    for delta in (normal(shape, draw), (normal(shape, draw) * 2).round() / 4):
        ranks = np.empty(delta.size, np.int32)
        kernels.rank_rows(delta.reshape(-1).view(np.uint32), shape[-1], ranks)
        rows = np.abs(delta).reshape(-1, shape[-1])
        order = rows.argsort(axis=1, kind="stable")
        assert np.array_equal(ranks.reshape(rows.shape), order.argsort(axis=1))


def test_della_drops_smaller_magnitudes_more_often():
    row = torch.tensor([0.5, -3.0, 1.0, 2.0]).repeat(40_000, 1)
    dropped = (edited(row, "della", drop_rate=0.5, window=0.6) == 0).double().mean(dim=0)
    wanted = torch.tensor([0.8, 0.2, 0.6, 0.4]).double()
    assert (dropped - wanted).abs().max() < 5 * (0.25 / 40_000) ** 0.5


def test_della_without_window_is_dare(delta):
    della = edited(delta, "della", drop_rate=0.25, window=0.0)
    torch.testing.assert_close(della, edited(delta, "dare", drop_rate=0.25))


def test_della_kept_entries_are_divided_by_their_own_probability(delta):
    della, params = edits.parse("della", {"drop_rate": 0.5, "window": 0.4})
    out = edited(delta, "della", drop_rate=0.5, window=0.4)
    kept = out != 0
    ranks = delta.abs().argsort(dim=1, stable=True).argsort(dim=1)
    dropped = torch.from_numpy(della.drop_probabilities(delta.shape[1], params))[ranks]
    torch.testing.assert_close(out[kept], (delta / (1 - dropped)).float()[kept])
    raw = edited(delta, "della", drop_rate=0.5, window=0.4, rescale=False)
    assert torch.equal(raw[kept], delta[kept])


def test_della_is_unbiased():
    delta = torch.linspace(1, 2, 400).repeat(2000, 1)
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
    delta = torch.from_numpy(normal(shape))
    out = edited(delta, "low_rank", rank=rank)
    singular = torch.linalg.svdvals(delta.flatten(1).double())
    error = (out.double() - delta.double()).norm()
    torch.testing.assert_close(error, singular[rank:].norm(), rtol=1e-6, atol=0)
    assert torch.linalg.matrix_rank(out.flatten(1), rtol=1e-5) == rank


@pytest.mark.parametrize(("sparsity", "rank"), [(0.9, 1), (0.8, 2), (0.0, 10), (1.0, 0)])
def test_sparsity_counts_in_decimals(sparsity, rank):
    delta = torch.from_numpy(normal((10, 12)))
    by_rank = edited(delta, "low_rank", rank=rank)
    assert torch.equal(edited(delta, "low_rank", sparsity=sparsity), by_rank)


@pytest.mark.parametrize("shape", [(7,), (), (0, 4)])
def test_low_rank_leaves_what_has_no_rank(shape):
    delta = torch.from_numpy(normal(shape))
    assert torch.equal(edited(delta, "low_rank", rank=0), delta)


@pytest.mark.parametrize("options", [{}, {"rank": 1, "sparsity": 0.5}])
def test_low_rank_wants_rank_or_sparsity(options):
    with pytest.raises(ValueError, match="give either rank or sparsity"):
        edits.parse("low_rank", options)


def test_the_rank_of_twin_merging_is_one_short_where_binary_floats_are(delta):
    short = edited(delta, "low_rank", sparsity=0.9, rounding="binary")  # int(0.1 * 33) = 3
    assert torch.equal(short, edited(delta, "low_rank", rank=3))
    ten = torch.from_numpy(normal((10, 12)))
    assert not edited(ten, "low_rank", sparsity=0.9, rounding="binary").any()  # int(0.999...) = 0


def test_known_factors_serve_every_rank():
    low_rank = edits.load("low_rank")
    delta = torch.from_numpy(normal((600, 700)))
    factors = low_rank.Factors(delta, low_rank.singular_vectors(delta))
    for rank in (300, 512, 10, 599):  # in any order, across the steps in which products are added
        known = low_rank.apply(
            delta, low_rank.Params(rank=rank), rng=generator_for(0, "w"), factors=factors
        )
        assert torch.equal(known, edited(delta, "low_rank", rank=rank))


# --- bitdelta -------------------------------------------------------------------------------------


def test_bitdelta_is_the_sign_times_the_mean_magnitude(delta):
    delta[0, 0] = 0
    mean = delta.double().abs().mean().float()
    out = edited(delta, "bitdelta")
    torch.testing.assert_close(out, delta.sign() * mean, rtol=1e-7, atol=0)
    assert edited(delta, "bitdelta", zero="plus")[0, 0] == out.max()
    assert torch.equal(edited(delta, "bitdelta", scale_multiple=-2.0), -2 * out)


@pytest.mark.parametrize("size", [1, 7, 500])
def test_as_many_blocks_as_entries_are_the_identity(size):
    delta = torch.from_numpy(normal(size))
    delta[::3] = delta[0]  # of equal magnitudes each has its block too
    assert torch.equal(edited(delta, "bitdelta", blocks=size), delta)
    assert torch.equal(edited(delta, "bitdelta", blocks=size + 3), delta)


def test_one_block_is_bitdelta(delta):
    assert torch.equal(edited(delta, "bitdelta", blocks=1), edited(delta, "bitdelta"))


@pytest.mark.parametrize("blocks", [2, 3, 16, 100])
def test_blocks_are_those_of_the_sorted_magnitudes(blocks):
    delta = torch.from_numpy(normal((40, 77)))
    delta = torch.cat([delta, (delta * 3).round() / 3])  # with many equal magnitudes
    magnitude, order = delta.abs().flatten().sort(stable=True)
    wanted = torch.empty(delta.numel(), dtype=torch.float64)
    for block in np.array_split(np.arange(delta.numel()), blocks):  # the first ones one longer
        wanted[order[block]] = magnitude[block].double().mean()
    out = edited(delta, "bitdelta", blocks=blocks).flatten()
    torch.testing.assert_close(out, (wanted * delta.flatten().sign()).float(), rtol=1e-6, atol=0)


def test_more_blocks_never_enlarge_the_error():
    delta = torch.from_numpy(normal(1 << 12))
    errors = [(edited(delta, "bitdelta", blocks=1 << b) - delta).norm() for b in range(13)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == 0


@pytest.mark.parametrize("magnitude", ["normal", "uniform"])
def test_drawn_magnitudes_have_the_mean_of_the_delta(magnitude):
    delta = torch.from_numpy(normal(400_000))
    out = edited(delta, "bitdelta", magnitude=magnitude).double()
    assert torch.equal(out.sign(), delta.double().sign())
    mean = delta.abs().mean().item()
    # Standard deviations of |z| sqrt(pi/2) and of 2u, in units of the mean.
    spread = (np.pi / 2 - 1) ** 0.5 if magnitude == "normal" else 3**-0.5
    assert abs(out.abs().mean().item() / mean - 1) < 5 * spread / out.numel() ** 0.5
    assert out.abs().std().item() / mean == pytest.approx(spread, rel=0.01)
    assert not torch.equal(out, edited(delta, "bitdelta", seed=1, magnitude=magnitude).double())


# --- biased ---------------------------------------------------------------------------------------


def test_biased_by_delta_scales_the_negative_side(delta):
    delta[0, 0] = 0
    out = edited(delta, "biased", by="delta", dropped_scale=0.25, drop_rate=0.5)
    assert torch.equal(out, torch.where(delta < 0, delta * 0.25, delta * 1.75))


def test_biased_by_product_scales_where_the_step_would_lower_the_loss(delta):
    biased, params = edits.parse("biased", {"by": "product", "dropped_scale": 0.25})
    gradient = torch.from_numpy(normal(delta.shape, generator_for(1, "g"))) * 1e-38
    gradient[:5] = 0
    out = biased.apply(delta, params, rng=generator_for(0, "w"), gradient=gradient)
    negative = delta.sign() * gradient.sign() < 0
    assert torch.equal(out, torch.where(negative, delta * 0.25, delta * 1.75))
    other = biased.Params(by="product", dropped_scale=0.25, zero="negative")
    out = biased.apply(delta, other, rng=generator_for(0, "w"), gradient=gradient)
    assert torch.equal(out[:5], delta[:5] * 0.25)
    with pytest.raises(ValueError, match="needs the gradient"):
        biased.apply(delta, params, rng=generator_for(0, "w"))


@pytest.mark.parametrize("by", ["delta", "product"])
def test_biased_with_k_one_is_the_identity(delta, by):
    biased, params = edits.parse("biased", {"by": by, "dropped_scale": 1.0, "drop_rate": 0.3})
    out = biased.apply(delta, params, rng=generator_for(0, "w"), gradient=-delta)
    assert torch.equal(out, delta)


# --- breadcrumbs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "outliers", "kept"), [(0.5, 0.1, 50), (0.3, 0.0, 70), (0.3, 0.3, 70)]
)
def test_breadcrumbs_keeps_the_middle(p, outliers, kept):
    delta = torch.from_numpy(normal(100))
    out = edited(delta, "breadcrumbs", drop_rate=p, outliers=outliers)
    order = delta.abs().argsort()
    largest = round(100 * outliers)
    middle = order[100 - largest - kept : 100 - largest]
    wanted = torch.zeros(100)
    wanted[middle] = delta[middle]
    assert torch.equal(out, wanted)


# --- combine --------------------------------------------------------------------------------------


def combined(deltas, **options):
    combine, params = edits.parse("combine", options)
    return combine.apply(deltas[0], params, rng=generator_for(0, "w"), deltas=deltas[1:])


@pytest.fixture
def deltas():
    return [torch.from_numpy(normal((8, 9), generator_for(i, "d"))) for i in range(3)]


def test_combine_adds_weighted_deltas(deltas):
    out = combined(deltas, weights=[0.5, 1.0, -2.0], scale=0.5)
    torch.testing.assert_close(out, 0.5 * (0.5 * deltas[0] + deltas[1] - 2 * deltas[2]))
    assert torch.equal(combined(deltas[:1]), deltas[0])
    with pytest.raises(ValueError, match="2 numbers for 3 deltas"):
        combined(deltas, weights=[1, 1])


def test_the_elected_sign_is_that_of_the_sum_and_the_others_are_left_out():
    deltas = [torch.tensor(x) for x in ([3.0, 1.0, -1.0, 0.0], [-1.0, 2.0, -2.0, 0.0])]
    deltas.append(torch.tensor([-1.0, -4.0, 0.0, 0.0]))
    out = combined(deltas, weights=[1, 1, 1], elect=True, mean=True)
    assert out.tolist() == [3, -4, -1.5, 0]
    assert combined(deltas, weights=[1, 1, 1], elect=True).tolist() == [3, -4, -3, 0]
    assert combined(deltas, weights=[2, 1, 2], mean=True).tolist() == pytest.approx(
        [3 / 5, -4 / 5, -4 / 3, 0]
    )


def test_combine_edits_each_delta_first_with_a_stream_of_its_own(deltas):
    trimmed = [edited(d, "ties", drop_rate=0.5) for d in deltas]
    out = combined(deltas, weights=[1, 1, 1], edit={"method": "ties", "drop_rate": 0.5})
    torch.testing.assert_close(out, sum(trimmed))
    dare = {"method": "dare", "drop_rate": 0.5}
    twice = combined([deltas[0], deltas[0]], weights=[1, 1], edit=dare)
    once = edited(deltas[0], "dare", drop_rate=0.5)
    kept = once / deltas[0], (twice - once) / deltas[0]
    assert not torch.equal(*kept)
    assert all(torch.all((k.round() == 0) | (k.round() == 2)) for k in kept)


# --- mergekit's rescaling -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "options"),
    [("dare", {"drop_rate": 0.9}), ("della", {"drop_rate": 0.7, "window": 0.2})],
)
def test_l1_gives_back_the_norm_of_the_delta(delta, method, options):
    out = edited(delta, method, rescale="l1", **options)
    torch.testing.assert_close(out.double().abs().sum(), delta.double().abs().sum())
    plain = edited(delta, method, rescale=False, **options)
    kept = plain != 0
    ratio = out[kept] / plain[kept]
    torch.testing.assert_close(ratio, ratio[0].expand_as(ratio))
    zero = torch.zeros(5, 4)
    assert torch.equal(edited(zero, method, rescale="l1", **options), zero)


@pytest.mark.parametrize("name", edits.NAMES)
@pytest.mark.parametrize("shape", [(6, 5), (0,), (9,), ()])
def test_an_all_zero_delta_stays_zero(name, shape):
    method = edits.load(name)
    zero = torch.zeros(shape)
    out = method.apply(zero, method.EXAMPLE, rng=generator_for(0, "w"))
    assert torch.equal(out, zero)
