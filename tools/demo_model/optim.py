"""Muon for the matrices of a net and Adam for the rest."""

import torch
from torch import Tensor, nn

ADAM_BETAS = (0.9, 0.97)
MOMENTUM = 0.95
# The best odd polynomials of degree five, one after the other (arXiv 2505.16932).
ROUNDS = (
    (8.28721, -23.59589, 17.30039),
    (4.10706, -2.94785, 0.54484),
    (3.94869, -2.90890, 0.55182),
    (3.31842, -2.48849, 0.51005),
)


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest matrix with equal singular values, in four rounds (Polar Express).

    Every round multiplies by a polynomial of the square matrix of inner products, so the rounds
    are done on that small one alone.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() * 1.01 + 1e-7)
    inner, ahead = x @ x.T, torch.eye(len(x))
    for number, (a, b, c) in enumerate(ROUNDS):
        step = torch.addmm(inner, inner, inner, beta=b, alpha=c)
        step.diagonal().add_(a)
        ahead = step @ ahead if number else step
        if number + 1 < len(ROUNDS):
            inner = step @ (step @ inner)
    found: Tensor = ahead @ x
    return found.T if tall else found


class Optimiser:
    """Steps every parameter of a net; equal lr suits both kinds of update."""

    def __init__(self, net: nn.Module, decay: float = 0.01) -> None:
        wanted = [p for p in net.parameters() if p.requires_grad]
        inner = {id(p) for p in _inner_weights(net)}
        self.matrices = [p for p in wanted if id(p) in inner]
        self.others = [p for p in wanted if id(p) not in inner]
        self.momentum = [torch.zeros_like(p) for p in self.matrices]
        self.adam = torch.optim.AdamW(self.others, betas=ADAM_BETAS, weight_decay=0.0)
        self.decay = decay

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move the weights by their gradients."""
        torch.nn.utils.clip_grad_norm_(self.others, 1.0)
        for group in self.adam.param_groups:
            group["lr"] = lr
        self.adam.step()
        for weight, momentum in zip(self.matrices, self.momentum, strict=True):
            if weight.grad is not None:  # SDXL does not read the first text encoder's last layer.
                weight.mul_(1 - lr * self.decay).add_(_update(weight.grad, momentum), alpha=-lr)

    def state(self) -> dict[str, object]:
        """What a checkpoint needs."""
        return {"momentum": self.momentum, "adam": self.adam.state_dict()}

    def load(self, state: dict[str, object]) -> None:
        """Go on from a checkpoint."""
        kept, adam = state["momentum"], state["adam"]
        if not isinstance(kept, list) or not isinstance(adam, dict):
            raise TypeError("not a state of this optimiser")
        for mine, old in zip(self.momentum, kept, strict=True):
            mine.copy_(old)
        self.adam.load_state_dict(adam)


def _update(grad: Tensor, momentum: Tensor) -> Tensor:
    """Muon's direction; the momentum is moved in place."""
    momentum.lerp_(grad, 1 - MOMENTUM)
    ahead = grad.lerp(momentum, MOMENTUM).flatten(1)
    scale = 0.2 * max(ahead.shape) ** 0.5
    step: Tensor = orthogonal(ahead) * scale
    return step.view_as(grad)


def _inner_weights(net: nn.Module) -> list[Tensor]:
    """The weights between a hidden layer and a hidden layer: all but the ends and tables."""
    layers = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    return [
        m.weight
        for m in layers
        if m.weight.requires_grad and min(m.weight.shape[0], m.weight.flatten(1).shape[1]) >= 16
    ]
