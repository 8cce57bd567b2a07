"""Trains the UNet to paint latents as captions say, as the text encoders tell it."""

from itertools import accumulate
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from tools.demo_model import latents
from tools.demo_model.captions import caption
from tools.demo_model.focus import focus, practice
from tools.demo_model.scenes import Scene
from tools.demo_model.text import CONTEXT, PROJECTION, TextPair, Tokenizers
from tools.demo_model.training import Run, averaged
from tools.demo_model.workers import worker, workers

CHANNELS = (64, 112, 96)
HEADS = (2, 4, 3)
TIME_IDS_WIDTH = 32
BATCH = {128: 24, 256: 6}
# A negative prompt that is not given becomes zeros in SDXL; an empty one is encoded.
ZEROED, EMPTY = 0.08, 0.03
# Shapes at 128 px come first; from here on three steps in four are at 256 px and all scenes are even.
WIDENS = 0.6
# The averaged weights follow quickly: a longer memory would paint at 256 px as if it were 128.
KEEP = 0.99
# This share of the lessons is at times at which shapes are decided (latents neither all noise nor
# nearly clean), the rest anywhere.
MIDDLE, FIRST, LAST = 0.75, 150, 850


def new_unet() -> UNet2DConditionModel:
    """An untrained UNet of SDXL's kind: no attention at the finest level, text_time conditioning."""
    return UNet2DConditionModel(
        sample_size=32,
        block_out_channels=CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=HEADS,
        transformer_layers_per_block=1,
        cross_attention_dim=CONTEXT,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_IDS_WIDTH,
        projection_class_embeddings_input_dim=6 * TIME_IDS_WIDTH + PROJECTION,
        norm_num_groups=8,
    )


class Painter(nn.Module):
    """UNet and text encoders together; the text encoders have learnt before and stand."""

    def __init__(self, tokenizers: Tokenizers) -> None:
        super().__init__()
        self.text, self.unet = TextPair(tokenizers).requires_grad_(False), new_unet()
        self.unet.set_attn_processor(AttnProcessor())  # trains quicker on a CPU than the fused one

    def forward(self, noisy: Tensor, times: Tensor, ids: list[Tensor], heard: Tensor) -> Tensor:
        """The velocity in the noisy latents; where not `heard`, the text is zeros."""
        context, pooled = self.text(ids)
        size = 8 * noisy.shape[-1]
        extra = {
            "text_embeds": pooled * heard[:, None],
            "time_ids": torch.tensor([[size, size, 0, 0, size, size]] * len(noisy)),
        }
        told = context * heard[:, None, None]
        made: Tensor = self.unet(noisy, times, told, added_cond_kwargs=extra).sample
        return made


def signal_share() -> Tensor:
    """How much of the picture's variance is left at each of the 1000 times (SDXL's betas)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0).float()


class Lesson(NamedTuple):
    """One batch: clean latents, how much each cell counts, token ids, which captions are heard."""

    clean: Tensor
    weights: Tensor
    ids: list[Tensor]
    heard: Tensor


class Shelf:
    """All scenes of one size with their latents."""

    def __init__(self, folder: Path, seed: int, size: int) -> None:
        self.latents = latents.load(folder, size)
        self.scenes = [latents.scene(seed, size, n) for n in range(len(self.latents))]
        self.focus = np.stack([focus(scene, size // 8) for scene in self.scenes]).astype(np.float16)
        self.lots = list(accumulate(practice(scene) for scene in self.scenes))

    def pick(self, rng: Random, count: int, evenly: bool) -> list[int]:
        """Draw lots for scenes, in favour of single shapes or evenly."""
        return rng.choices(range(len(self.scenes)), cum_weights=None if evenly else self.lots, k=count)


class Lessons:
    """Draws training batches from the cached latents, with captions worded afresh."""

    def __init__(self, folder: Path, seed: int, rng: Random) -> None:
        self.rng = rng
        self.shelves = {size: Shelf(folder, seed, size) for size in latents.COUNTS}
        self.tokenizers = Tokenizers(folder / "model")

    def batch(self, size: int, evenly: bool) -> Lesson:
        """A batch of that size in pixels."""
        shelf = self.shelves[size]
        numbers = shelf.pick(self.rng, BATCH[size], evenly)
        lots = [self.rng.random() for _ in numbers]
        words = [self._words(shelf.scenes[n], lot) for n, lot in zip(numbers, lots, strict=True)]
        heard = torch.tensor([float(lot >= ZEROED) for lot in lots])
        clean = torch.from_numpy(shelf.latents[numbers]).float()
        weights = torch.from_numpy(shelf.focus[numbers]).float()
        return Lesson(clean, weights[:, None], self.tokenizers(words), heard)

    def _words(self, drawn: Scene, lot: float) -> str:
        return "" if ZEROED <= lot < ZEROED + EMPTY else caption(drawn, self.rng)


def lesson_times(count: int) -> Tensor:
    """Times spread over the batch, most of them where shapes are decided."""
    even = (torch.arange(count) + torch.rand(count)) / count
    middle = FIRST + (LAST - FIRST) * even / MIDDLE
    anywhere = 1000 * (even - MIDDLE) / (1 - MIDDLE)
    return torch.where(even < MIDDLE, middle, anywhere).long().clamp(0, 999)


def velocity_loss(net: Painter, shares: Tensor, lesson: Lesson) -> Tensor:
    """Weighted squared error of the predicted velocity."""
    times = lesson_times(len(lesson.clean))
    noise = torch.randn_like(lesson.clean)
    share = shares[times][:, None, None, None]
    noisy = share.sqrt() * lesson.clean + (1 - share).sqrt() * noise
    wanted = share.sqrt() * noise - (1 - share).sqrt() * lesson.clean
    with torch.autocast("cpu", torch.bfloat16):
        made = net(noisy, times, lesson.ids, lesson.heard)
    wrong: Tensor = ((made.float() - wanted).square() * lesson.weights).mean()
    return wrong


def train(folder: Path, seed: int, seconds: float, lr: float = 2e-3) -> None:
    """Train (on) until the seconds are spent; the checkpoint is folder/unet.pt."""
    torch.manual_seed(seed)
    lessons = Lessons(folder, seed, Random(f"{seed} lessons {worker()}"))
    net = Painter(lessons.tokenizers)
    net.text.load_state_dict(text_weights(folder))
    run = Run(net, folder / "unet.pt", seconds, lr, KEEP)
    lessons.rng = Random(f"{seed} unet {worker()} {run.step}")
    torch.manual_seed(lessons.rng.randrange(1 << 30))
    shares = signal_share()

    def loss(progress: float) -> tuple[Tensor, int]:
        widened = progress > WIDENS
        size = 256 if widened and run.step % 4 else 128
        value = velocity_loss(net, shares, lessons.batch(size, evenly=widened))
        return value, BATCH[size] * workers()

    run.train(loss)


def text_weights(folder: Path) -> dict[str, Tensor]:
    """The text encoders as the stage before left them, without their examiner."""
    weights = averaged(folder / "text.pt")
    return {k.removeprefix("text."): v for k, v in weights.items() if k.startswith("text.")}
