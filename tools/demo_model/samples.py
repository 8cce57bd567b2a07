"""Paints with the finished model: a sheet of samples, and how one picture develops.

python -m tools.demo_model.samples --model model --images docs/images
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from PIL import Image
from torch import Tensor

PROMPTS = (
    "a red circle on a blue background",
    "a large yellow star on a purple background",
    "a house on green hills on a sunny day with the sun",
    "a pink heart on a teal background",
    "a sailing boat on the sea at sunset with the sun",
    "an orange diamond on a black background",
    "snowy mountains at night with the moon",
    "a small white moon in the top right corner on a blue background",
    "a green hexagon on a yellow dotted background",
    "trees in the snow by day",
    "a red star left of a blue circle on a white background",
    "a cactus in the desert at sunset with the sun",
    "a purple ring on an orange striped background",
    "a house and a tree in the snow at night with the moon",
    "a white cross on a red background",
    "two trees on green hills at sunset with the sun",
    "a yellow triangle above a green square on a pink background",
    "a boat on the ocean at night with the moon",
)
STORY = "a sailing boat on the sea at sunset with the sun"
COLUMNS, GAP, STEPS = 6, 8, 24


def load(model: Path) -> StableDiffusionXLPipeline:
    """The pipeline from the model's folder, as for any other checkpoint."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(model, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class Watching(EulerDiscreteScheduler):  # type: ignore[misc]
    """The ordinary scheduler, but it keeps what it saw after each step."""

    def __init__(self, *inputs: object, **options: object) -> None:
        super().__init__(*inputs, **options)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def step(self, *inputs: object, **options: object) -> tuple[Tensor]:
        """Step, and keep the noisy latents at unit variance and the guess at clean ones."""
        result = super().step(*inputs, **{**options, "return_dict": True})
        spread = float(self.sigmas[self.step_index]) ** 2 + 1
        self.seen.append((result.prev_sample / spread**0.5, result.pred_original_sample))
        return (result.prev_sample,)


def develop(
    pipeline: StableDiffusionXLPipeline, prompts: list[str], size: int, seed: int, steps: int = STEPS
) -> list[tuple[Tensor, Tensor]]:
    """After each step: the noisy latents (at unit variance) and the guess at the clean ones."""
    ordinary = pipeline.scheduler
    pipeline.scheduler = watching = Watching.from_config(ordinary.config)
    generator = torch.Generator().manual_seed(seed)
    pipeline(prompts, height=size, width=size, num_inference_steps=steps,
             generator=generator, output_type="latent")  # fmt: skip
    pipeline.scheduler = ordinary
    seen: list[tuple[Tensor, Tensor]] = watching.seen
    return seen


@torch.inference_mode()
def decoded(pipeline: StableDiffusionXLPipeline, latents: Tensor) -> Image.Image:
    """The autoencoder's picture of one set of latents."""
    made = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample[0]
    drawn = ((made.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(drawn))


def sheet(pictures: list[Image.Image], columns: int) -> Image.Image:
    """Set the pictures in rows on white."""
    side = pictures[0].width + GAP
    rows = -(-len(pictures) // columns)
    paper = Image.new("RGB", (columns * side + GAP, rows * side + GAP), "white")
    for i, picture in enumerate(pictures):
        paper.paste(picture, (GAP + i % columns * side, GAP + i // columns * side))
    return paper


def samples(pipeline: StableDiffusionXLPipeline, size: int = 128) -> Image.Image:
    """One picture for each prompt of the list, made at `size` and gone over once more at twice that."""
    second = StableDiffusionXLImg2ImgPipeline(**pipeline.components)
    second.set_progress_bar_config(disable=True)
    made: list[Image.Image] = []
    for seed, prompt in enumerate(PROMPTS):
        generator = torch.Generator().manual_seed(seed)
        (small,) = pipeline(prompt, height=size, width=size, num_inference_steps=STEPS,
                            generator=generator).images  # fmt: skip
        large = small.resize((2 * size, 2 * size), Image.Resampling.LANCZOS)
        made += second(prompt, image=large, strength=0.5, num_inference_steps=STEPS + 4,
                       generator=generator).images  # fmt: skip
    return sheet(made, COLUMNS)


def development(pipeline: StableDiffusionXLPipeline, size: int = 256) -> Image.Image:
    """Guesses at the clean picture above, the noisy latents below, from early to late."""
    states = develop(pipeline, [STORY], size, seed=1)
    shown = [states[round(i * (len(states) - 1) / 6)] for i in range(7)]
    rows = [[decoded(pipeline, state[kind]) for state in shown] for kind in (1, 0)]
    return sheet(rows[0] + rows[1], len(shown))


def main() -> None:
    """Write both sheets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    wish = parser.parse_args()
    wish.images.mkdir(parents=True, exist_ok=True)
    pipeline = load(wish.model)
    samples(pipeline).save(wish.images / "demo-samples.png", optimize=True)
    development(pipeline).save(wish.images / "demo-development.png", optimize=True)


if __name__ == "__main__":
    main()
