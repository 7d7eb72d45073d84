"""The loss change of an edit: approximated by slopes along the path, and measured.

    L(W_post + dW) - L(W_post) = int_0^1 s(t) dt ~ sum_i w_i s(t_i)
    s(t) = <grad L(W_post + t dW), dW>,   dW = W_edit - W_post

Equation 1 of Tang et al. 2024, *A Unified View of Delta Parameter Editing*. The path is walked
in float32: in bfloat16 most of a step would be rounded away. A loss is a list of
`(weight, function of the model)` whose weighted sum it is, see `deltaedit.losses`.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from deltaedit.checkpoints import Checkpoint
from deltaedit.errors import UserError

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


class Path:
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


def walk(
    path: Path,
    loss: Loss,
    nodes: Iterable[float],
    start: Callable[[str], Tensor] | None = None,
) -> tuple[dict[float, dict[str, float]], float]:
    """Walk the path: slopes per node and parameter, and the loss at its end.

    Args:
        path: from W_post to the edited model.
        loss: parts of the loss.
        nodes: values of t in [0, 1].
        start: parameter name -> grad L(W_post); used at t = 0, where the gradient is the same
            for every edit of a pair, instead of a pass.

    Returns:
        node -> parameter -> slope in nats per unit of t, and L(W_edit).
    """
    found = {}
    for t in nodes:
        if t == 0 and start is not None:
            names = (name for name, _ in path.model.named_parameters())
            found[t] = {name: inner(start(name), path.step(name)) for name in names}
        else:
            path.move_to(t)
            found[t] = slopes(path.model, loss, path.step)
    path.move_to(1.0)
    return found, measure(path.model, loss)
