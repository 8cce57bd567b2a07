"""Trains the UNet, and the text encoders with it, to paint latents as captions say."""

from pathlib import Path
from random import Random

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from tools.demo_model import latents
from tools.demo_model.captions import caption
from tools.demo_model.text import CONTEXT, PROJECTION, TextPair, Tokenizers
from tools.demo_model.training import Run, averaged
from tools.demo_model.workers import worker, workers

CHANNELS = (96, 96, 80)
HEADS = (3, 3, 2)
TIME_IDS_WIDTH = 32
BATCH = {128: 24, 256: 6}
# A negative prompt that is not given becomes zeros in SDXL; an empty one is encoded.
ZEROED, EMPTY = 0.08, 0.03
# The text encoders learn along for this part of the time; then they stand, which is quicker.
TEXT_LEARNS = 0.33
# Below 1: more lessons at high noise, where it is decided what stands where.
TIMES_POWER = 0.7


def new_unet() -> UNet2DConditionModel:
    """An untrained UNet of SDXL's kind: text at every level, text_time conditioning."""
    return UNet2DConditionModel(
        sample_size=32,
        block_out_channels=CHANNELS,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
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
    """UNet and text encoders together."""

    def __init__(self, tokenizers: Tokenizers) -> None:
        super().__init__()
        self.text, self.unet = TextPair(tokenizers), new_unet()
        self.text_learns = True

    def forward(self, noisy: Tensor, times: Tensor, ids: list[Tensor], heard: Tensor) -> Tensor:
        """The velocity in the noisy latents; where not `heard`, the text is zeros."""
        with torch.set_grad_enabled(self.text_learns and torch.is_grad_enabled()):
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


class Lessons:
    """Draws training batches from the cached latents, with captions worded afresh."""

    def __init__(self, folder: Path, seed: int, rng: Random) -> None:
        self.seed, self.rng = seed, rng
        self.known = {size: latents.load(folder, size) for size in latents.COUNTS}
        self.tokenizers = Tokenizers(folder / "model")

    def batch(self, size: int) -> tuple[Tensor, list[Tensor], Tensor]:
        """Clean latents, token ids, and which captions are to be heard."""
        count = BATCH[size]
        numbers = [self.rng.randrange(latents.COUNTS[size]) for _ in range(count)]
        lots = [self.rng.random() for _ in numbers]
        words = [self._words(size, n, lot) for n, lot in zip(numbers, lots, strict=True)]
        heard = torch.tensor([float(lot >= ZEROED) for lot in lots])
        clean = torch.from_numpy(self.known[size][numbers]).float()
        return clean, self.tokenizers(words), heard

    def _words(self, size: int, number: int, lot: float) -> str:
        drawn = latents.scene(self.seed, size, number)
        return "" if ZEROED <= lot < ZEROED + EMPTY else caption(drawn, self.rng)


def velocity_loss(net: Painter, shares: Tensor, lesson: tuple[Tensor, list[Tensor], Tensor]) -> Tensor:
    """Squared error of the predicted velocity, at times spread over the batch."""
    clean, ids, heard = lesson
    count = len(clean)
    even = (torch.arange(count) + torch.rand(count)) / count
    times = (1000 * even**TIMES_POWER).long().clamp(max=999)
    noise = torch.randn_like(clean)
    share = shares[times][:, None, None, None]
    noisy = share.sqrt() * clean + (1 - share).sqrt() * noise
    wanted = share.sqrt() * noise - (1 - share).sqrt() * clean
    with torch.autocast("cpu", torch.bfloat16):
        made = net(noisy, times, ids, heard)
    wrong: Tensor = (made.float() - wanted).square().mean()
    return wrong


def train(folder: Path, seed: int, seconds: float, lr: float = 2e-3) -> None:
    """Train (on) until the seconds are spent; the checkpoint is folder/unet.pt."""
    torch.manual_seed(seed)
    lessons = Lessons(folder, seed, Random(f"{seed} lessons {worker()}"))
    net = Painter(lessons.tokenizers)
    net.text.load_state_dict(text_weights(folder))
    run = Run(net, folder / "unet.pt", seconds, lr)
    lessons.rng = Random(f"{seed} unet {worker()} {run.step}")
    torch.manual_seed(lessons.rng.randrange(1 << 30))
    shares = signal_share()

    def loss(progress: float) -> tuple[Tensor, int]:
        net.text_learns = progress < TEXT_LEARNS
        size = 256 if run.step % (5 if progress < 0.33 else 3) == 1 else 128
        value = velocity_loss(net, shares, lessons.batch(size))
        return value, BATCH[size] * workers()

    run.train(loss)


def text_weights(folder: Path) -> dict[str, Tensor]:
    """The text encoders as the stage before left them, without their examiner."""
    weights = averaged(folder / "text.pt")
    return {k.removeprefix("text."): v for k, v in weights.items() if k.startswith("text.")}
