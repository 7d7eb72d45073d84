"""The loss change of an edit: approximated by slopes along the path, and measured.

    L(W_post + dW) - L(W_post) = int_0^1 s(t) dt ~ sum_i w_i s(t_i)
    s(t) = <grad L(W_post + t dW), dW>,   dW = W_edit - W_post

Equation 1 of Tang et al. 2024, *A Unified View of Delta Parameter Editing*. The path is walked
in float32: in bfloat16 most of a step would be rounded away. A loss is a list of
`(weight, function of the model)` whose weighted sum it is, see `deltaedit.losses`.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deltaedit import memo, quadrature
from deltaedit.checkpoints import Checkpoint, generator_for, torch_dtype
from deltaedit.errors import UserError
from deltaedit.memo import Keep
from deltaedit.parts import part_of

Loss = Sequence[tuple[float, Callable[[nn.Module], Tensor]]]
RUN = 1 << 20  # entries that are read, moved or multiplied at once: they stay in the cache


def measure(model: nn.Module, loss: Loss) -> list[float]:
    """Return the loss of `model` by batch, each times its weight; they add up to the loss.

    In nats (per token or example, as the loss defines).
    """
    with torch.no_grad():
        return [weight * part(model).item() for weight, part in loss]


def gradient(model: nn.Module, loss: Loss) -> tuple[list[float], dict[str, Tensor]]:
    """Return what `measure` does, and the gradient for every parameter that gets one, on the CPU.

    Gradients are float32.
    """
    check_whole(model)
    model.zero_grad(set_to_none=True)
    losses = [_backward(model, weight, part) for weight, part in loss]
    found = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return losses, found


def slopes(model: nn.Module, loss: Loss, step: Callable[..., Tensor]) -> dict[str, list[float]]:
    """Return <grad L, step> per parameter and batch, at the model's present weights.

    Each inner product is taken as backward produces the gradient, which is then freed: memory
    holds one tensor's gradient and a run of the step at a time. The products of all batches add up
    to the slope.

    Args:
        model: its weights are the point; tied weights are one parameter.
        loss: parts of the loss, one per batch.
        step: the direction, see `along`.
    """
    found = {name: [0.0] * len(loss) for name, _ in model.named_parameters()}
    batch = 0

    def take(name: str) -> Callable[[Tensor], None]:
        def hook(parameter: Tensor) -> None:
            found[name][batch] += along(step, name, parameter.grad)
            parameter.grad = None

        return hook

    handles = [
        parameter.register_post_accumulate_grad_hook(take(name))
        for name, parameter in model.named_parameters()
    ]
    try:
        for batch, (weight, part) in enumerate(loss):  # noqa: B007 (the hooks read it)
            _backward(model, weight, part)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _backward(model: nn.Module, weight: float, part: Callable[[nn.Module], Tensor]) -> float:
    scaled = weight * part(model)
    scaled.backward()
    return scaled.item()


def standard_error(shares: Sequence[float], weights: Sequence[float]) -> float | None:
    """Return the standard error of a weighted mean over batches, None for fewer than two.

        se^2 = B/(B - 1) sum_b w_b^2 (m_b - m)^2,  m = sum_b w_b m_b

    Args:
        shares: w_b m_b of each of the B batches.
        weights: w_b, which add up to one.
    """
    if len(shares) < 2:
        return None
    mean, count = sum(shares), len(shares)
    spread = sum((c - w * mean) ** 2 for c, w in zip(shares, weights, strict=True))
    return sqrt(count / (count - 1) * spread)


def along(step: Callable[..., Tensor], name: str, gradient: Tensor) -> float:
    """Return <gradient, step>: run by run in float32, these products summed in float64.

    Args:
        step: `step(name, start, out)` fills `out`, float32, with the entries of the step of a
            parameter from `start` on, and returns it.
        name: the parameter's.
        gradient: of its shape; the products are taken on its device.
    """
    flat, sums = gradient.reshape(-1), []
    space = torch.empty(min(RUN, len(flat)), device=gradient.device)
    for start, run in runs(flat):
        sums.append(step(name, start, space[: len(run)]).mul_(run).sum())
    return torch.stack(sums).sum(dtype=torch.float64).item()


def check_whole(model: nn.Module) -> None:
    """Raise UserError if some weights of the model are offloaded, so that they get no gradient."""
    if any(parameter.is_meta for parameter in model.parameters()):
        raise UserError(
            "the model does not fit on the GPUs of the job, and a gradient needs all of its weights"
            " there; give the job more GPUs or larger ones"
        )


class Line(ABC):
    """A straight line through W_post (t = 0), along a step that is read run by run."""

    def __init__(self, model: nn.Module, post: Checkpoint) -> None:
        check_whole(model)
        self.model, self.post = model, post
        self._parameters = dict(model.named_parameters())
        self._check_shapes(post)

    def _check_shapes(self, checkpoint: Checkpoint) -> None:
        for name, parameter in self._parameters.items():
            if name not in checkpoint.tensors:
                raise UserError(
                    f"{checkpoint.folder}: the model's parameter {name!r} has no tensor of that"
                    " name; losses need checkpoints whose names are the model's"
                )
            if (shape := checkpoint.tensors[name].shape) != tuple(parameter.shape):
                raise UserError(
                    f"{checkpoint.folder}: {name!r} is {list(shape)}, in the model"
                    f" {list(parameter.shape)}"
                )

    @abstractmethod
    def _step(self, name: str, start: int, post: Tensor) -> Tensor:
        """Return the step of a run from entry `start` on, where W_post is `post`; float32."""

    def _place(self, name: str, start: int, t: float, out: Tensor) -> None:
        """Fill `out` with a run of the weights at `t`."""
        read(self.post, name, start, out)
        if t:
            out.add_(self._step(name, start, out), alpha=t)

    def step(self, name: str, start: int = 0, out: Tensor | None = None) -> Tensor:
        """Return the step of one parameter, float32; with `out` a run of it from `start` on."""
        if out is None:
            whole = torch.empty_like(self._parameters[name], dtype=torch.float32)
            with torch.no_grad():
                for start, run in runs(whole):
                    self.step(name, start, run)
            return whole
        read(self.post, name, start, out)
        return out.copy_(self._step(name, start, out))

    def move_to(self, t: float) -> None:
        """Set the model's weights to W_post + t * step, in place."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                for start, run in runs(parameter):
                    self._place(name, start, t, run)


def runs(tensor: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the first entry and a view of each run of a tensor."""
    for i, run in enumerate(tensor.view(-1).split(RUN)):
        yield i * RUN, run


def read(checkpoint: Checkpoint, name: str, start: int, out: Tensor) -> None:
    """Fill `out` with the entries of the tensor `name` from `start` on, converted to its type."""
    if not len(out):
        return
    info = checkpoint.tensors[name]
    raw = np.empty(len(out) * info.itemsize, np.uint8)
    checkpoint.read(name, start, raw)
    # As stored to the device, and converted there.
    out.copy_(torch.from_numpy(raw).view(torch_dtype(info.dtype)).to(out.device))


class Segment(Line):
    """The straight path from W_post (t = 0) to an edited model (t = 1)."""

    def __init__(self, model: nn.Module, post: Checkpoint, edited: Checkpoint) -> None:
        super().__init__(model, post)
        self.edited = edited
        self._check_shapes(edited)

    def _step(self, name: str, start: int, post: Tensor) -> Tensor:
        edited = torch.empty_like(post)
        read(self.edited, name, start, edited)
        return edited.sub_(post)

    def _place(self, name: str, start: int, t: float, out: Tensor) -> None:
        if t == 1:  # to the bit
            read(self.edited, name, start, out)
        else:
            super()._place(name, start, t, out)


class Start:
    """The loss and its gradient at W_post, as `compute_gradient` stored them."""

    def __init__(self, folder: Path) -> None:
        self.losses: list[float] = json.loads((folder / "loss.json").read_text())["losses_post"]
        self._gradient = Checkpoint(folder)

    def slopes(self, segment: Segment) -> dict[str, float]:
        """Return <grad L(W_post), step> per parameter; a parameter without gradient gives 0."""
        known = self._gradient.tensors
        return {
            name: along(segment.step, name, self._gradient.tensor(name).to(parameter.device))
            if name in known
            else 0.0
            for name, parameter in segment.model.named_parameters()
        }


@dataclass(frozen=True)
class Walk:
    """What was found on the way from W_post to an edited model."""

    slopes: dict[float, dict[str, float]]  # node -> parameter -> nats per unit of t
    batches: dict[float, dict[str, list[float]]]  # the same by batch, at nodes other than 0
    losses: list[float]  # at the edited model, by batch


def walk(
    segment: Segment,
    loss: Loss,
    nodes: Iterable[float],
    start: Start,
    keep: Keep = memo.anew,
) -> Walk:
    """Walk from W_post to an edited model.

    Args:
        segment: from W_post to the edited model.
        loss: parts of the loss.
        nodes: values of t in [0, 1].
        start: used at t = 0, where the gradient is the same for every edit of a pair.
        keep: of the slopes at a node, by its t, and of the losses at the edited model.
    """
    found, batches = {}, {}
    for t in nodes:
        if t == 0:
            found[t] = keep({"slopes_at": t}, partial(start.slopes, segment))
        else:
            batches[t] = keep({"slopes_at": t}, partial(_slopes_at, segment, loss, t))
            found[t] = {name: sum(shares) for name, shares in batches[t].items()}
    return Walk(found, batches, keep({"losses_at": 1.0}, partial(_losses_at, segment, loss, 1.0)))


def _slopes_at(segment: Segment, loss: Loss, t: float) -> dict[str, list[float]]:
    segment.move_to(t)
    return slopes(segment.model, loss, segment.step)


def _losses_at(segment: Segment, loss: Loss, t: float) -> list[float]:
    segment.move_to(t)
    return measure(segment.model, loss)


def rows(
    segment: Segment,
    loss: Loss,
    rules: Iterable[str],
    intervals: int,
    start: Start,
    keep: Keep = memo.anew,
) -> Iterator[dict[str, Any]]:
    """Yield one row per quadrature, node and tensor, with what is known of the whole edit on each.

    Rows have quadrature, node (t), its weight, tensor, layer, group, slope and its slope_stderr,
    and of the edit loss_post, loss_edited, measured_change, its measured_stderr, and
    approximate_stderr; losses in nats. Standard errors are over batches, see `standard_error`. At
    node 0 only the slope of the mean gradient is known: its error is None, and the error of the
    approximation stands on the other nodes, as if the batches differed at node 0 as they do there.
    A node that several quadratures share is walked to once; `keep` as for `walk`, whatever the
    quadratures.
    """
    found = {rule: quadrature.rule(rule, intervals) for rule in rules}
    shares = [weight for weight, _ in loss]
    points = sorted({t for nodes, _ in found.values() for t in nodes})
    walked = walk(segment, loss, points, start, keep)
    changes = [after - before for after, before in zip(walked.losses, start.losses, strict=True)]
    whole = {
        "loss_post": sum(start.losses),
        "loss_edited": sum(walked.losses),
        "measured_change": sum(changes),
        "measured_stderr": standard_error(changes, shares),
    }
    for rule, (nodes, weights) in found.items():
        weighted = dict(zip(nodes, weights, strict=True))
        approximate_stderr = standard_error(_by_batch(walked, weighted), shares)
        for t, weight in weighted.items():
            for tensor, slope in walked.slopes[t].items():
                layer, group = part_of(tensor)
                batches = walked.batches.get(t, {}).get(tensor, [])
                yield {
                    "quadrature": rule,
                    "node": t,
                    "weight": weight,
                    "tensor": tensor,
                    "layer": layer,
                    "group": group,
                    "slope": slope,
                    "slope_stderr": standard_error(batches, shares),
                    **whole,
                    "approximate_stderr": approximate_stderr,
                }


def _by_batch(walked: Walk, weights: Mapping[float, float]) -> list[float]:
    """Return the approximated change by batch, as if they differed at node 0 as elsewhere."""
    seen = {t: weight for t, weight in weights.items() if t in walked.batches}
    slopes = [
        [weight / sum(seen.values()) * slope for slope in batches]
        for t, weight in seen.items()
        for batches in walked.batches[t].values()
    ]
    return [sum(batch) for batch in zip(*slopes, strict=True)]


class Probe(Line):
    """A line through W_post along the delta, the sign of each entry drawn anew."""

    def __init__(self, model: nn.Module, base: Checkpoint, post: Checkpoint, seed: int) -> None:
        super().__init__(model, post)
        self.base, self.seed = base, seed

    def _step(self, name: str, start: int, post: Tensor) -> Tensor:
        """Return z * (W_post - W_base) of a run, z = +1 or -1, float32."""
        known = min(max(self.base.tensors[name].size - start, 0), len(post))
        delta = torch.zeros_like(post)  # rows that base lacks are not edited
        read(self.base, name, start, delta[:known])
        torch.sub(post[:known], delta[:known], out=delta[:known])
        signs = generator_for(self.seed, name).uniform(len(post), start) < 0.5
        return torch.where(torch.from_numpy(signs).to(post.device), delta, -delta)


def curvature(probe: Probe, loss: Loss, h: float = 0.1) -> float:
    """Return one draw of sum_i H_ii D_i^2, H the Hessian of the loss at W_post, in nats.

        E[(z D)^T H (z D)] = sum_i H_ii D_i^2,  z = +1 or -1 at random (Hutchinson)

    The product is the derivative of the slope along z D, by a central difference of width 2 h.
    Half of it times the editing intensity (k - 1)^2 p/(1 - p) is the loss change that dare has to
    second order, in expectation over its masks.
    """
    found = []
    for t in (h, -h):
        probe.move_to(t)
        by_batch = slopes(probe.model, loss, probe.step)
        found.append(sum(map(sum, by_batch.values())))
    return (found[0] - found[1]) / (2 * h)
