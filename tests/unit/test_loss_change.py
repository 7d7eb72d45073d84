"""Slopes, the walk along the path, and the measured loss change, on losses known exactly."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from deltaedit import files, logs, loss_change, memo
from deltaedit.checkpoints import Checkpoint
from deltaedit.losses import build


class Quadratic(nn.Module):
    """L(a, b) = g.a + 1/2 a.H a + c.b + |b|^4: quadratic in a, quartic in b."""

    def __init__(self, quartic=0.0):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.a = nn.Parameter(torch.randn(5, generator=draw))
        self.b = nn.Parameter(torch.randn(3, generator=draw))
        self.g, self.c = torch.randn(5, generator=draw), torch.randn(3, generator=draw)
        root = torch.randn(5, 5, generator=draw)
        self.hessian, self.quartic = root @ root.T, quartic

    def forward(self):
        curved = self.g @ self.a + self.a @ self.hessian @ self.a / 2
        return curved + self.c @ self.b + self.quartic * self.b.square().sum() ** 2


LOSS = [(0.25, lambda model: model()), (0.75, lambda model: model())]


@pytest.fixture
def setup(tmp_path):
    """Return a function that makes a model, the segment to an edited copy, and the start."""

    def make(quartic=0.0):
        model = Quadratic(quartic)
        post = {name: p.detach().clone() for name, p in model.named_parameters()}
        edited = {name: p + torch.linspace(0.1, 0.9, len(p)) for name, p in post.items()}
        for end, tensors in (("post", post), ("edited", edited)):
            (tmp_path / end).mkdir()
            save_file(tensors, tmp_path / end / "model.safetensors")
        losses, gradient = loss_change.gradient(model, LOSS)
        (tmp_path / "gradient").mkdir()
        save_file(gradient, tmp_path / "gradient" / "gradient.safetensors")
        files.write_json(tmp_path / "gradient" / "loss.json", {"losses_post": losses})
        ends = (Checkpoint(tmp_path / end) for end in ("post", "edited"))
        start = loss_change.Start(tmp_path / "gradient")
        return model, loss_change.Segment(model, *ends), start

    return make


def change(segment, start, rule, n):
    rows = list(loss_change.rows(segment, LOSS, [rule], n, start))
    return sum(row["weight"] * row["slope"] for row in rows), rows[0]["measured_change"]


@pytest.mark.parametrize("rule", ["midpoint", "trapezoid", "simpson", "gauss_legendre"])
def test_a_quadratic_loss_has_no_gap(setup, rule):
    _, segment, start = setup()
    approximate, measured = change(segment, start, rule, 2)
    assert approximate == pytest.approx(measured, rel=1e-5)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_left_sum_misses_the_stated_part_of_the_curvature(setup, n):
    model, segment, start = setup()
    step = segment.step("a")
    curvature = (step @ model.hessian @ step).item()
    approximate, measured = change(segment, start, "left", n)
    assert measured - approximate == pytest.approx(curvature / (2 * n), rel=1e-4)


def test_the_gap_of_a_quartic_falls_at_the_rule_s_order(setup):
    _, segment, start = setup(quartic=0.1)
    gaps = []
    for n in (4, 8):
        approximate, measured = change(segment, start, "midpoint", n)
        gaps.append(approximate - measured)
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.05)


def test_the_measured_change_is_the_difference_of_two_losses(setup):
    model, segment, start = setup(quartic=0.1)
    before = model().item()
    segment.move_to(1.0)
    after = model().item()
    assert change(segment, start, "left", 2)[1] == pytest.approx(after - before, rel=1e-5)


def test_slopes_are_the_inner_products_with_the_gradient(setup):
    model, segment, _ = setup(quartic=0.1)
    segment.move_to(0.3)
    model().backward()
    wanted = {n: (p.grad @ segment.step(n)).item() for n, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    by_batch = loss_change.slopes(model, LOSS, segment.step)
    assert {n: sum(shares) for n, shares in by_batch.items()} == pytest.approx(wanted, rel=1e-5)
    for name, shares in by_batch.items():  # both batches are the same loss, weighted
        assert shares == pytest.approx([0.25 * wanted[name], 0.75 * wanted[name]], rel=1e-5)
    assert all(p.grad is None for p in model.parameters()), "gradients are freed"


def test_the_stored_gradient_gives_the_slope_at_the_start(setup):
    model, segment, start = setup(quartic=0.1)
    segment.move_to(0.0)
    walked = loss_change.slopes(model, LOSS, segment.step)
    walked = {name: sum(shares) for name, shares in walked.items()}
    assert start.slopes(segment) == pytest.approx(walked, rel=1e-6)


def test_the_start_costs_no_pass(setup):
    _, segment, start = setup()
    calls = []
    counted = [(1.0, lambda model: (calls.append(torch.is_grad_enabled()), model())[1])]
    start.losses = [sum(start.losses)]
    list(loss_change.rows(segment, counted, ["left"], 5, start))
    assert calls == [True] * 4 + [False], "four backward passes and one measured loss"


def test_quadratures_share_their_nodes_and_the_measured_change(setup):
    _, segment, start = setup(quartic=0.1)
    calls = []
    counted = [(1.0, lambda model: (calls.append(torch.is_grad_enabled()), model())[1])]
    start.losses = [sum(start.losses)]
    rules = ["left", "trapezoid", "right"]
    together = list(loss_change.rows(segment, counted, rules, 5, start))
    assert calls == [True] * 5 + [False], "nodes .2 to 1, and one measured loss"
    alone = [row for rule in rules for row in loss_change.rows(segment, counted, [rule], 5, start)]
    assert together == alone


class Counted:
    """The loss in two batches; counts backward passes and losses, stops at the given one."""

    def __init__(self, stop_at=None):
        self.backward, self.measured, self.stop_at = 0, 0, stop_at

    def batch(self, model):
        if torch.is_grad_enabled():
            if self.backward == self.stop_at:
                raise KeyboardInterrupt
            self.backward += 1
        else:
            self.measured += 1
        return model()

    def rows(self, segment, rules, intervals, start, *keep):
        loss = [(weight, self.batch) for weight, _ in LOSS]
        return list(loss_change.rows(segment, loss, rules, intervals, start, *keep))


def test_a_walk_that_was_interrupted_goes_on_at_its_node(setup, tmp_path):
    _, segment, start = setup(quartic=0.1)
    keep = memo.keeper(tmp_path / "kept", {"checkpoint": "abc"})
    whole = Counted().rows(segment, ["midpoint"], 4, start)
    first = Counted(stop_at=5)  # at the second batch of the third node
    with pytest.raises(KeyboardInterrupt):
        first.rows(segment, ["midpoint"], 4, start, keep)
    then = Counted()
    assert then.rows(segment, ["midpoint"], 4, start, keep) == whole, "to the bit"
    assert (then.backward, then.measured) == (2 * 2, 2), "nodes three and four, and the losses"
    last = Counted()
    assert last.rows(segment, ["midpoint"], 4, start, keep) == whole
    assert (last.backward, last.measured) == (0, 0)


def test_another_quadrature_walks_to_its_new_nodes_only(setup, tmp_path):
    _, segment, start = setup(quartic=0.1)
    keep = memo.keeper(tmp_path / "kept", {"checkpoint": "abc"})
    Counted().rows(segment, ["left"], 5, start, keep)
    for rules, intervals, new in ((["left", "trapezoid"], 5, 1), (["left"], 10, 5)):
        counted = Counted()
        wanted = Counted().rows(segment, rules, intervals, start)
        assert counted.rows(segment, rules, intervals, start, keep) == wanted
        assert (counted.backward, counted.measured) == (2 * new, 0)


def test_the_nodes_of_another_checkpoint_are_walked_anew(setup, tmp_path):
    _, segment, start = setup(quartic=0.1)
    for checkpoint in ("abc", "def"):
        keep = memo.keeper(tmp_path / "kept", {"checkpoint": checkpoint})
        counted = Counted()
        counted.rows(segment, ["left"], 5, start, keep)
        assert (counted.backward, counted.measured) == (2 * 4, 2)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_slopes_of_a_ruined_model_are_recalled_as_they_were(setup, tmp_path):
    model, segment, start = setup()
    model.hessian.fill_(float("nan"))
    keep = memo.keeper(tmp_path / "kept", {"checkpoint": "abc"})
    first, again = (Counted().rows(segment, ["left"], 2, start, keep) for _ in range(2))
    assert any(row["slope"] != row["slope"] for row in first)
    assert str(again) == str(first)


def test_only_one_gradient_lives_at_a_time(setup):
    model, segment, _ = setup()
    alive = []

    def step(name, start, out):
        alive.append(sum(p.grad is not None for p in model.parameters()))
        return segment.step(name, start, out)

    loss_change.slopes(model, LOSS, step)
    assert max(alive) == 1


def test_a_model_whose_names_are_not_the_checkpoint_s_is_refused(setup, tmp_path):
    _, segment, _ = setup()
    with pytest.raises(ValueError, match="parameter 'weight' has no tensor of that name"):
        loss_change.Segment(nn.Linear(2, 2), segment.post, segment.edited)


def test_a_checkpoint_of_other_shapes_is_refused(setup, tmp_path):
    model, segment, _ = setup()
    (tmp_path / "long").mkdir()
    save_file({"a": torch.zeros(6), "b": torch.zeros(3)}, tmp_path / "long" / "model.safetensors")
    with pytest.raises(ValueError, match=r"long: 'a' is \[6\], in the model \[5\]$"):
        loss_change.Segment(model, segment.post, Checkpoint(tmp_path / "long"))


class Linear(nn.Module):
    """L(w) = sum_i w_i, in float64."""

    def __init__(self, weights):
        super().__init__()
        self.w = nn.Parameter(weights)

    def forward(self):
        return self.w.double().sum()


@pytest.fixture
def between(tmp_path):
    """Return a function that makes the segment of a Linear from weights to others."""

    def make(post, edited):
        for end, weights in (("post", post), ("edited", edited)):
            (tmp_path / end).mkdir()
            save_file({"w": weights}, tmp_path / end / "model.safetensors")
        ends = (Checkpoint(tmp_path / end) for end in ("post", "edited"))
        return loss_change.Segment(Linear(torch.zeros(len(post))), *ends)

    return make


def test_both_ends_are_met_to_the_bit(between):
    post, edited = torch.tensor([1e8, 1.1, -3e-9]), torch.tensor([1.1, 1e-8, 3.3])
    assert not torch.equal(post + (edited - post), edited), (
        "a case in which arithmetic is not exact"
    )
    segment = between(post, edited)
    for t, end in ((1.0, edited), (0.0, post)):
        segment.move_to(t)
        assert torch.equal(segment.model.w, end)


def test_rounding_to_bfloat16_turns_the_sign_of_a_loss_change_that_float32_has_right(between):
    spacing = 2.0**-13  # of bfloat16 between 2^-6 and 2^-5: 1.2e-4, the size of a delta
    post = torch.full((3,), 0.02).bfloat16().float()
    edited = post + spacing * torch.tensor([0.4, 0.4, -0.6])  # the loss rises by 0.2 spacings
    segment = between(post, edited)
    for t in (0.2, 1.0):
        segment.move_to(t)
        ours = (segment.model() - post.double().sum()).item()
        assert ours == pytest.approx(0.2 * t * spacing, rel=1e-3)
        by_batch = loss_change.slopes(segment.model, LOSS, segment.step)
        assert sum(by_batch["w"]) == pytest.approx(0.2 * spacing, rel=1e-3)
    rounded = (edited.bfloat16() - post).double().sum().item()
    assert rounded == -spacing, "two steps of 0.4 are lost, the one of -0.6 becomes a whole one"
    halfway = post + 0.5 * (edited - post)
    assert torch.equal(halfway.bfloat16().float(), post), "of smaller steps nothing is left"


def test_inner_products_are_those_of_float64():
    def inner(a, b):
        def step(name, start, out):
            return out.copy_(b.reshape(-1)[start : start + len(out)])

        return loss_change.along(step, "w", a)

    draw = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1500, 1000, generator=draw) for _ in range(2))
    assert inner(a, b) == pytest.approx((a.double() * b.double()).sum().item(), rel=1e-6)
    b = b.reshape(1000, 1500)
    assert inner(a.T, b) == pytest.approx((a.T.double() * b.double()).sum().item(), rel=1e-6)
    ones = torch.ones(40_000_000)  # a sum in float32, one after the other, ends at 2^24
    assert inner(ones, ones) == 40_000_000


def test_neither_steps_nor_weights_depend_on_the_runs(language, monkeypatch):
    segment, loss, start = language()
    probe = loss_change.Probe(segment.model, segment.edited, segment.post, seed=0)

    def found():
        seen = []
        for line in (segment, probe):
            seen += [line.step(name) for name in line.post.tensors]
            line.move_to(0.4)
            seen += [p.detach().clone() for p in line.model.parameters()]
        return seen, loss_change.slopes(segment.model, loss, segment.step), start.slopes(segment)

    tensors, at_node, at_start = found()
    monkeypatch.setattr(loss_change, "RUN", 7)
    again, at_node_again, at_start_again = found()
    assert all(map(torch.equal, tensors, again))
    assert at_start_again == pytest.approx(at_start, rel=1e-5, abs=1e-9)
    for name, shares in at_node.items():
        assert at_node_again[name] == pytest.approx(shares, rel=1e-5, abs=1e-9)


def test_a_probe_leaves_the_rows_that_base_lacks(tmp_path, monkeypatch):
    monkeypatch.setattr(loss_change, "RUN", 4)
    base, post = torch.rand(3, 2), torch.rand(5, 2)
    model = nn.Linear(2, 5, bias=False)
    for end, weight in (("base", base), ("post", post)):
        (tmp_path / end).mkdir()
        save_file({"weight": weight}, tmp_path / end / "model.safetensors")
    ends = (Checkpoint(tmp_path / end) for end in ("base", "post"))
    step = loss_change.Probe(model, *ends, seed=0).step("weight")
    assert torch.equal(step[:3].abs(), (post[:3] - base).abs())
    assert not step[3:].any()


def test_the_standard_error_is_that_of_a_mean_of_batches():
    means = [1.0, 2.0, 4.0, 9.0]
    equal = [0.25 * mean for mean in means]
    wanted = torch.tensor(means).std().item() / 2  # s / sqrt(4)
    assert loss_change.standard_error(equal, [0.25] * 4) == pytest.approx(wanted)
    assert loss_change.standard_error([0.3, 0.9], [0.25, 0.75]) == pytest.approx(0)
    assert loss_change.standard_error([1.0], [1.0]) is None
    assert loss_change.standard_error([], [1.0]) is None


def test_errors_say_how_batches_differ(setup):
    _, segment, start = setup()
    scaled = [(0.5, lambda model: model()), (0.5, lambda model: 3 * model())]
    start.losses = [segment.model().item() * factor / 2 for factor in (1, 3)]
    for row in loss_change.rows(segment, scaled, ["midpoint"], 4, start):
        # Batches of slope s and 3 s: mean 2 s, standard error |s|.
        assert row["slope_stderr"] == pytest.approx(abs(row["slope"]) / 2, rel=1e-5)
        assert row["measured_stderr"] == pytest.approx(abs(row["measured_change"]) / 2, rel=1e-4)
        assert row["approximate_stderr"] == pytest.approx(row["measured_stderr"], rel=1e-4)
    first, *rest = loss_change.rows(segment, scaled, ["left"], 2, start)
    assert (first["node"], first["slope_stderr"]) == (0, None)
    assert first["approximate_stderr"] > 0, "from the node that has batches"
    assert rest[-1]["slope_stderr"] > 0


def test_the_curvature_is_the_hessian_s_diagonal_weighted_by_the_squared_delta(setup):
    model, segment, _ = setup()
    delta = (segment.post.tensor("a") - segment.edited.tensor("a")).double()
    hessian = model.hessian.double()
    draws = []
    for seed in range(200):
        probe = loss_change.Probe(model, segment.edited, segment.post, seed)
        v = probe.step("a").double()
        assert torch.equal(v.abs(), delta.abs())
        draws.append(loss_change.curvature(probe, LOSS))
        assert draws[-1] == pytest.approx((v @ hessian @ v).item(), rel=1e-3)
    wanted = (hessian.diagonal() * delta.square()).sum().item()
    error = torch.tensor(draws).std().item() / 200**0.5
    assert abs(sum(draws) / 200 - wanted) < 5 * error


# --- the same on a language model -----------------------------------------------------------------

ROWS = [
    {"prompt": "question : tom has 3 pens . answer :", "answer": "3 + 5 = 8 #### 8"},
    {"prompt": "instruction : list 2 homes . response :", "answer": "lake cave"},
    {"prompt": "question : what color is it ? answer :", "answer": "red"},
]


@pytest.fixture
def language(tiny_pair, tokenizer, tmp_path):
    from deltaedit.models import load_causal_lm

    def make(tied=False):
        base, post = tiny_pair(tied=tied)
        model = load_causal_lm(post, torch.float32)
        data = tmp_path / "rows.jsonl"
        data.write_text("".join(f"{files.json.dumps(row)}\n" for row in ROWS))
        spec = {"kind": "next_token", "options": {}, "count": 3, "batch_size": 2}
        loss = build(spec, data, tokenizer)
        (tmp_path / "gradient").mkdir()
        losses, gradient = loss_change.gradient(model, loss)
        save_file(gradient, tmp_path / "gradient" / "gradient.safetensors")
        files.write_json(tmp_path / "gradient" / "loss.json", {"losses_post": losses})
        segment = loss_change.Segment(model, Checkpoint(post), Checkpoint(base))
        return segment, loss, loss_change.Start(tmp_path / "gradient")

    return make


@pytest.mark.parametrize("tied", [False, True])
def test_a_language_model_s_approximation_meets_the_measured_change(language, tied):
    segment, loss, start = language(tied)
    rows = list(loss_change.rows(segment, loss, ["gauss_legendre"], 3, start))
    approximate = sum(row["weight"] * row["slope"] for row in rows)
    assert approximate == pytest.approx(rows[0]["measured_change"], rel=1e-3)
    tensors = {row["tensor"] for row in rows}
    assert tensors == set(segment.post.tensors), "tied weights count once, all others once"
    assert len(rows) == 3 * len(tensors)


def test_a_node_is_measured_once_for_all_quadratures_of_a_loss(language, tmp_path, monkeypatch):
    segment, _, _ = language()
    monkeypatch.setattr(logs, "to_file", lambda path: None)
    path = Path(loss_change.__file__).parents[1] / "approximate_loss.py"
    script = runpy.run_path(str(path), {"snakemake": SimpleNamespace(log=[None])})
    base, post = f"{segment.edited.folder}", f"{segment.post.folder}"
    variants = [{"name": "base", "folder": base, "method": None, "seed": None, "tensors": None}]
    keys = {"pair": "tiny", "sweep": "ends", "slice": "all", "loss": "math"}
    spec = {"kind": "next_token", "options": {}, "count": 3, "batch_size": 2}
    spec |= {"autocast": None, "gradient_checkpointing": False}

    def kept(quadrature, intervals, kept="kept", **options):
        given = spec | {"quadrature": quadrature, "intervals": intervals} | options
        places = base, post, tmp_path / "gradient", tmp_path / "rows.jsonl", None
        rows = script["approximate_loss"](
            variants, keys, *places, "causal_lm", given, tmp_path / kept, {}
        )
        return len(list((tmp_path / kept).iterdir())), rows

    assert kept(["left"], 2)[0] == 2 + 1
    found, rows = kept(["left", "trapezoid"], 4)
    assert found == 5 + 1, "nodes 1/4, 3/4 and 1 are new"
    assert rows == kept(["left", "trapezoid"], 4, "other")[1]
    assert kept(["left"], 2, gradient_checkpointing=True)[0] == 6 + 3, "another loss"
