"""The loss change of an edit: approximated by slopes along the path, and measured.

    L(W_post + dW) - L(W_post) = int_0^1 s(t) dt ~ sum_i w_i s(t_i)
    s(t) = <grad L(W_post + t dW), dW>,   dW = W_edit - W_post

Equation 1 of Tang et al. 2024, *A Unified View of Delta Parameter Editing*. The path is walked
in float32: in bfloat16 most of a step would be rounded away. A loss is a list of
`(weight, function of the model)` whose weighted sum it is, see `deltaedit.losses`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deltaedit import quadrature
from deltaedit.checkpoints import Checkpoint
from deltaedit.errors import UserError
from deltaedit.parts import part_of

Loss = Sequence[tuple[float, Callable[[nn.Module], Tensor]]]


def measure(model: nn.Module, loss: Loss) -> float:
    """Return the loss of `model`, in nats (per token or example, as the loss defines)."""
    with torch.no_grad():
        return sum(weight * part(model).item() for weight, part in loss)


def gradient(model: nn.Module, loss: Loss) -> tuple[float, dict[str, Tensor]]:
    """Return the loss and its gradient for every parameter that gets one, float32 on the CPU."""
    model.zero_grad(set_to_none=True)
    value = _backward(model, loss)
    found = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return value, found


def slopes(model: nn.Module, loss: Loss, step: Callable[[str], Tensor]) -> dict[str, float]:
    """Return <grad L, step> per parameter tensor at the model's present weights.

    Each inner product is taken as backward produces the gradient, which is then freed: memory
    holds one tensor's gradient at a time. Products are summed in float64.

    Args:
        model: its weights are the point; tied weights are one parameter.
        loss: parts of the loss; inner products add up over them.
        step: parameter name -> the direction, shape of the parameter.
    """
    total = dict.fromkeys((name for name, _ in model.named_parameters()), 0.0)

    def take(name: str) -> Callable[[Tensor], None]:
        def hook(parameter: Tensor) -> None:
            total[name] += inner(parameter.grad, step(name).to(parameter.device))
            parameter.grad = None

        return hook

    handles = [
        parameter.register_post_accumulate_grad_hook(take(name))
        for name, parameter in model.named_parameters()
    ]
    try:
        _backward(model, loss)
    finally:
        for handle in handles:
            handle.remove()
    return total


def _backward(model: nn.Module, loss: Loss) -> float:
    value = 0.0
    for weight, part in loss:
        scaled = weight * part(model)
        scaled.backward()
        value += scaled.item()
    return value


def inner(a: Tensor, b: Tensor) -> float:
    """Return the Frobenius inner product <a, b>, summed in float64."""
    return (a * b).sum(dtype=torch.float64).item()


class Segment:
    """The straight path from W_post (t = 0) to an edited model (t = 1), read tensor by tensor."""

    def __init__(self, model: nn.Module, post: Checkpoint, edited: Checkpoint) -> None:
        self.model, self.post, self.edited = model, post, edited
        missing = [name for name, _ in model.named_parameters() if name not in post.tensors]
        if missing:
            raise UserError(
                f"{post.folder}: the model's parameter {missing[0]!r} has no tensor of that name;"
                " losses need checkpoints whose names are the model's"
            )

    def step(self, name: str) -> Tensor:
        """Return W_edit - W_post of one parameter, float32."""
        return self.edited.tensor(name).float() - self.post.tensor(name).float()

    def move_to(self, t: float) -> None:
        """Set the model's weights to W_post + t (W_edit - W_post)."""
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(self.post.tensor(name).float() + t * self.step(name))


class Start:
    """The loss and its gradient at W_post, as `compute_gradient` stored them."""

    def __init__(self, folder: Path) -> None:
        self.loss: float = json.loads((folder / "loss.json").read_text())["loss_post"]
        self._gradient = Checkpoint(folder)

    def slopes(self, segment: Segment) -> dict[str, float]:
        """Return <grad L(W_post), step> per parameter; a parameter without gradient gives 0."""
        known = self._gradient.tensors
        return {
            name: inner(self._gradient.tensor(name), segment.step(name)) if name in known else 0.0
            for name, _ in segment.model.named_parameters()
        }


def walk(
    segment: Segment, loss: Loss, nodes: Iterable[float], start: Start
) -> tuple[dict[float, dict[str, float]], float]:
    """Walk from W_post to an edited model: slopes per node and parameter, and the loss there.

    Args:
        segment: from W_post to the edited model.
        loss: parts of the loss.
        nodes: values of t in [0, 1].
        start: used at t = 0, where the gradient is the same for every edit of a pair.

    Returns:
        node -> parameter -> slope in nats per unit of t, and L(W_edit).
    """
    found = {}
    for t in nodes:
        if t == 0:
            found[t] = start.slopes(segment)
        else:
            segment.move_to(t)
            found[t] = slopes(segment.model, loss, segment.step)
    segment.move_to(1.0)
    return found, measure(segment.model, loss)


def rows(
    segment: Segment, loss: Loss, rule: str, intervals: int, start: Start
) -> Iterator[dict[str, Any]]:
    """Yield one row per node and tensor, with the measured change of the whole edit on each.

    Rows have node (t), weight (of the quadrature), tensor, layer, group, slope, loss_post,
    loss_edited and measured_change; losses in nats.
    """
    nodes, weights = quadrature.rule(rule, intervals)
    found, edited = walk(segment, loss, nodes, start)
    for t, weight in zip(nodes, weights, strict=True):
        for tensor, slope in found[t].items():
            layer, group = part_of(tensor)
            yield {
                "node": t,
                "weight": weight,
                "tensor": tensor,
                "layer": layer,
                "group": group,
                "slope": slope,
                "loss_post": start.loss,
                "loss_edited": edited,
                "measured_change": edited - start.loss,
            }
