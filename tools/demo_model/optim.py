"""Muon for the matrices of a net and Adam for the rest, shared out over the processes."""

import torch
from torch import Tensor, nn

from tools.demo_model.workers import sum_over_workers, worker, workers

ADAM_BETAS = (0.9, 0.97)
MOMENTUM = 0.95


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest matrix with equal singular values (Newton-Schulz, five rounds)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    found: Tensor = (x.T if tall else x).float()
    return found


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
        """Average the gradients over the processes and move the weights."""
        grads = [p.grad for p in self.matrices + self.others if p.grad is not None]
        sum_over_workers(grads, 1 / workers())
        torch.nn.utils.clip_grad_norm_(self.others, 1.0)
        for group in self.adam.param_groups:
            group["lr"] = lr
        self.adam.step()
        self._step_matrices(lr)

    def _step_matrices(self, lr: float) -> None:
        updates = [self._update(i, p) for i, p in enumerate(self.matrices)]
        sum_over_workers(updates)
        for weight, update in zip(self.matrices, updates, strict=True):
            if weight.grad is not None:
                weight.mul_(1 - lr * self.decay).add_(update, alpha=-lr)

    def _update(self, index: int, weight: Tensor) -> Tensor:
        """Every process works out its share of the updates; the sum brings them together."""
        if weight.grad is None:  # SDXL does not read the first text encoder's last layer.
            return torch.zeros_like(weight)
        momentum = self.momentum[index].lerp_(weight.grad, 1 - MOMENTUM)
        if index % workers() != worker():
            return torch.zeros_like(weight)
        ahead = weight.grad.lerp(momentum, MOMENTUM).flatten(1)
        scale = 0.2 * max(ahead.shape) ** 0.5
        update: Tensor = (orthogonal(ahead) * scale).view_as(weight)
        return update

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


def _inner_weights(net: nn.Module) -> list[Tensor]:
    """The weights between a hidden layer and a hidden layer: all but the ends and tables."""
    layers = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    return [
        m.weight
        for m in layers
        if m.weight.requires_grad and min(m.weight.shape[0], m.weight.flatten(1).shape[1]) >= 16
    ]
