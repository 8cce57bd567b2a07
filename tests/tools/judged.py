"""Has the built-in model paint what it has never been shown, and judges the pictures.

`make judge` (python -m tests.tools.judged) asks all 200 prompts and prints the figures that the model
card quotes; the tests ask the first of them.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline

from daemon.settings import BUILT_IN
from tests.tools.demo_judge import Bytes, Verdict, judge
from tests.tools.test_demo_data import unseen_scenes
from tools.demo_model.captions import single_words
from tools.demo_model.samples import load
from tools.demo_model.scenes import Scene

ALL, BATCH = 200, 25


class Judged(NamedTuple):
    """One picture: what was asked for, in words too, and what the judge found."""

    scene: Scene
    prompt: str
    found: Verdict

    @property
    def background_right(self) -> bool:
        """Whether the background has the asked colour."""
        return self.found.background == self.scene.background

    @property
    def colour_right(self) -> bool:
        """Whether the shape has the asked colour."""
        return self.found.colour == self.scene.items[0].colour

    @property
    def shape_right(self) -> bool:
        """Whether the asked outline is the nearest of all."""
        return self.found.shape == self.scene.items[0].shape


def questions(count: int) -> list[tuple[Scene, str]]:
    """The first of the 200 scenes of combinations that training never shows, each with a prompt."""
    rng = Random(2027)
    return [(scene, single_words(scene, rng)) for scene in unseen_scenes(ALL)][:count]


def paint(
    pipeline: StableDiffusionXLPipeline,
    prompts: list[str],
    *,
    size: int = 128,
    first: int = 0,
    cfg_scale: float = 5.0,
    negative: str | None = None,
) -> Bytes:
    """Pictures (n × size × size × 3) in 20 steps by diffusers; seeds count up from `first`."""
    made = pipeline(
        prompts,
        negative_prompt=None if negative is None else [negative] * len(prompts),
        height=size,
        width=size,
        generator=[torch.Generator().manual_seed(first + i) for i in range(len(prompts))],
        guidance_scale=cfg_scale,
        num_inference_steps=20,
        output_type="np",
    ).images
    return np.asarray((made * 255).round(), np.uint8)


def judged(
    pipeline: StableDiffusionXLPipeline, count: int, size: int = 128, cfg_scale: float = 5.0
) -> Iterator[Judged]:
    """Ask the first `count` prompts, seeds 0, 1, 2 …, and judge the pictures."""
    asked = questions(count)
    batch = BATCH * 128**2 // size**2
    for start in range(0, count, batch):
        part = asked[start : start + batch]
        prompts = [prompt for _, prompt in part]
        pictures = paint(pipeline, prompts, size=size, first=start, cfg_scale=cfg_scale)
        for (scene, prompt), picture in zip(part, pictures, strict=True):
            yield Judged(scene, prompt, judge(picture))


def main() -> None:
    """Print how many are right, in all and by shape, size and place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=BUILT_IN)
    parser.add_argument("--count", type=int, default=ALL)
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--cfg-scale", type=float, default=5.0)
    wish = parser.parse_args()
    found = list(judged(load(wish.model), wish.count, wish.size, wish.cfg_scale))
    for what in ("background", "colour", "shape"):
        right = sum(getattr(one, f"{what}_right") for one in found)
        print(f"{what:<10} {right} of {len(found)}")
    for name, kind in (("shape", _shape), ("size", _size), ("place", _place)):
        asked = Counter(kind(one) for one in found)
        right = Counter(kind(one) for one in found if one.shape_right)
        print(f"by {name}:", ", ".join(f"{key} {right[key]} of {asked[key]}" for key in asked))
    wrong = Counter(f"{_shape(one)} → {one.found.shape}" for one in found if not one.shape_right)
    print("mistaken:", ", ".join(f"{key} × {n}" for key, n in wrong.most_common()) or "none")


def _shape(one: Judged) -> str:
    return one.scene.items[0].shape


def _size(one: Judged) -> str:
    return one.scene.items[0].size or "medium"


def _place(one: Judged) -> str:
    return "centre" if one.scene.items[0].place == "centre" else "aside"


if __name__ == "__main__":
    main()
