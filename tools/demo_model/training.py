"""The loop that all stages share: a time budget, a schedule, an average, checkpoints."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from tools.demo_model.optim import Optimiser
from tools.demo_model.workers import agree, mean_over_workers, worker

CHECKPOINT_SECONDS = 150
LOG_STEPS = 50
# The processes train each for itself and take the mean of their weights after so many steps. On a busy
# machine, summing gradients at every step had each wait for the other half of the time.
MEETING_STEPS = 8

Loss = Callable[[float], tuple[Tensor, int]]


class Average:
    """Slowly following copy of the weights; it samples better than the last step."""

    def __init__(self, net: nn.Module, keep: float) -> None:
        self.keep = keep
        self.weights = {k: v.detach().clone() for k, v in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Follow the net; early on with a shorter memory."""
        keep = min(self.keep, (1 + step) / (10 + step))
        for name, value in net.state_dict().items():
            if value.dtype.is_floating_point:
                self.weights[name].lerp_(value, 1 - keep)


class Run:
    """One stage's training: what has been done so far and how to go on with it."""

    def __init__(self, net: nn.Module, path: Path, seconds: float, lr: float, keep: float = 0.999) -> None:
        self.net, self.path, self.seconds, self.lr = net, path, seconds, lr
        self.optimiser, self.average = Optimiser(net), Average(net, keep)
        self.step, self.samples, self.spent = 0, 0, 0.0
        self.losses: list[float] = []
        if path.exists():
            self._load()

    def train(self, loss: Loss) -> None:
        """Train until the time budget is spent; `loss` is told the progress from 0 to 1."""
        begun, saved = time.process_time() - self.spent, time.monotonic()
        while (progress := agree(self.spent / self.seconds)) < 1:
            for _ in range(MEETING_STEPS):
                self._once(loss, progress)
            mean_over_workers([p.data for p in self.net.parameters() if p.requires_grad])
            self.spent = time.process_time() - begun
            if worker() == 0 and time.monotonic() - saved > CHECKPOINT_SECONDS:
                self.save()
                saved = time.monotonic()
        if worker() == 0:
            self.save()

    def _once(self, loss: Loss, progress: float) -> None:
        value, samples = loss(progress)
        value.backward()
        self.optimiser.step(self.lr * schedule(progress, self.step))
        self.net.zero_grad()
        self.average.update(self.net, self.step)
        self.step += 1
        self.samples += samples
        self.losses.append(value.item())
        if worker() == 0 and self.step % LOG_STEPS == 0:
            self._log()

    def _log(self) -> None:
        recent = self.losses[-LOG_STEPS:]
        print(
            f"{self.path.stem}: step {self.step} samples {self.samples} "
            f"seconds {self.spent:.0f} loss {sum(recent) / len(recent):.4f}",
            flush=True,
        )

    def save(self) -> None:
        """Write a checkpoint, whole or not at all."""
        state = {
            "net": self.net.state_dict(),
            "average": self.average.weights,
            "optimiser": self.optimiser.state(),
            "count": [self.step, self.samples, self.spent],
            "losses": self.losses,
        }
        fresh = self.path.with_suffix(".new")
        torch.save(state, fresh)
        fresh.replace(self.path)

    def _load(self) -> None:
        state = torch.load(self.path, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.average.weights = state["average"]
        self.optimiser.load(state["optimiser"])
        self.step, self.samples, self.spent = state["count"]
        self.losses = state.get("losses", [])


def schedule(progress: float, step: int) -> float:
    """Warm up over 100 steps, hold, and fall along a cosine over the last two thirds."""
    warm = min(1.0, (step + 1) / 100)
    fall = max(0.0, (progress - 0.33) / 0.67)
    return warm * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * min(1.0, fall))))


def averaged(path: Path) -> dict[str, Tensor]:
    """The averaged weights of a finished stage."""
    weights: dict[str, Tensor] = torch.load(path, weights_only=True)["average"]
    return weights


def note(folder: Path, stage: str, facts: dict[str, object]) -> None:
    """Add a stage's figures to the record of the run."""
    path = folder / "record.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    record[stage] = {**record.get(stage, {}), **facts}
    path.write_text(json.dumps(record, indent=2) + "\n")


def note_training(folder: Path, stage: str) -> None:
    """Record how long a stage trained, on how much, and how its loss fell."""
    state = torch.load(folder / f"{stage}.pt", weights_only=True)
    steps, samples, seconds = state["count"]
    losses: list[float] = state["losses"]
    part = max(1, len(losses) // 10)
    tenths = [sum(losses[i : i + part]) / part for i in range(0, len(losses) - part + 1, part)]
    facts: dict[str, object] = {"steps": steps, "samples": samples, "seconds": round(seconds)}
    note(folder, stage, facts | {"losses": [round(value, 4) for value in tenths]})
