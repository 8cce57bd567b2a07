"""Teaches the text encoders, on text alone, to tell what a caption asks for.

It is worth its time: the pooled output reaches every block of the UNet, and a shape that cannot be
read off it is learnt many times more slowly.
"""

from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tools.demo_model import scenes
from tools.demo_model.captions import caption
from tools.demo_model.palette import COLOURS
from tools.demo_model.scenes import Scene, random_scene
from tools.demo_model.text import CONTEXT, PROJECTION, TextPair, Tokenizers
from tools.demo_model.training import Run
from tools.demo_model.workers import worker, workers

BATCH = 32
THINGS = tuple(dict.fromkeys(t for group in scenes.THINGS.values() for t in group))
# What is asked about a caption, and the possible answers; "" stands for "not there".
QUESTIONS: dict[str, tuple[str, ...]] = {
    **{f"shape{i}": ("", *scenes.SHAPES) for i in range(2)},
    **{f"colour{i}": ("", *COLOURS) for i in range(2)},
    "size": tuple(scenes.RADII),
    "place": ("", *scenes.PLACES),
    "background": ("", *COLOURS),
    "pattern": ("", *scenes.PATTERNS),
    "relation": ("", *scenes.RELATIONS),
    "time": ("", *scenes.TIMES),
    "light": ("", "sun", "moon"),
    "ground": ("", *scenes.GROUNDS),
    "thing": THINGS,
}
# The shape of a lone item is the hardest to hear and the one that matters most.
IMPORTANCE = {"shape0": 5.0, "shape1": 2.0, "size": 2.0, "place": 2.0}


def answers(scene: Scene) -> list[int]:
    """The right answer to each question."""
    facts = {"background": scene.background, "pattern": scene.pattern, "relation": scene.relation}
    for i, item in enumerate(scene.items):
        facts |= {f"shape{i}": item.shape, f"colour{i}": item.colour}
        facts |= {"size": item.size, "place": item.place}
    if scene.land is not None:
        land = scene.land
        facts |= {"time": land.time, "light": land.light}
        facts |= {"ground": land.ground, "thing": land.thing}
    return [options.index(facts.get(name, "")) for name, options in QUESTIONS.items()]


class Examined(nn.Module):
    """The encoders with an examiner that reads the states at the end and the pooled output."""

    def __init__(self, tokenizers: Tokenizers) -> None:
        super().__init__()
        self.text = TextPair(tokenizers)
        self.end = tokenizers.pair[0].eos_token_id
        total = sum(len(options) for options in QUESTIONS.values())
        self.readers = nn.ModuleList([nn.Linear(CONTEXT, total), nn.Linear(PROJECTION, total)])

    def forward(self, ids: list[Tensor]) -> list[Tensor]:
        """Scores for all answers, from either reader."""
        context, pooled = self.text(ids)
        last = (ids[0] == self.end).int().argmax(dim=1)
        states = context[torch.arange(len(last)), last]
        return [self.readers[0](states), self.readers[1](pooled)]


def exam_loss(scores: Tensor, right: Tensor) -> Tensor:
    """Cross entropy over the questions, some of them weightier than others."""
    parts = torch.split(scores, [len(options) for options in QUESTIONS.values()], dim=1)
    losses = [
        IMPORTANCE.get(name, 1.0) * cross_entropy(part, right[:, i])
        for i, (name, part) in enumerate(zip(QUESTIONS, parts, strict=True))
    ]
    return torch.stack(losses).mean()


def trimmed(ids: list[Tensor], end: int) -> list[Tensor]:
    """The tokens up to the end of the longest caption: no token reads what comes after it."""
    longest = int((ids[0] == end).int().argmax(dim=1).max()) + 1
    return [one[:, :longest] for one in ids]


def train(folder: Path, seed: int, seconds: float, lr: float = 2e-3) -> None:
    """Train (on) until the seconds are spent; the checkpoint is folder/text.pt."""
    torch.manual_seed(seed)
    tokenizers = Tokenizers(folder / "model")
    net = Examined(tokenizers)
    run = Run(net, folder / "text.pt", seconds, lr, keep=0.99)
    rng = Random(f"{seed} text {worker()} {run.step}")

    def loss(_progress: float) -> tuple[Tensor, int]:
        drawn = [random_scene(rng) for _ in range(BATCH)]
        ids = trimmed(tokenizers([caption(scene, rng) for scene in drawn]), net.end)
        right = torch.tensor([answers(scene) for scene in drawn])
        with torch.autocast("cpu", torch.bfloat16):
            readings = net(ids)
        total = exam_loss(readings[0].float(), right) + exam_loss(readings[1].float(), right)
        return total, BATCH * workers()

    run.train(loss)
