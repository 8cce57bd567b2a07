"""Trains the autoencoder's decoder on, with the encoder standing: sharper edges from the same latents.

The UNet learns from what the encoder wrote, so the encoder must not move any more; the decoder may,
and it learns here to be patient with latents that are a little off, as the UNet's are.
"""

from itertools import accumulate
from pathlib import Path
from random import Random

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from tools.demo_model import latents
from tools.demo_model.draw import pixels
from tools.demo_model.finish_vae import quality
from tools.demo_model.focus import practice
from tools.demo_model.tiny_decoder import load_vae
from tools.demo_model.train_vae import picture_loss, to_unit
from tools.demo_model.training import Run, averaged, note
from tools.demo_model.workers import worker, workers

BATCH = {128: 6, 256: 2}
# Latents are disturbed by up to this much of their spread.
DISTURBED = 0.2


class Decoder(nn.Module):
    """The part of the autoencoder that paints."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder = vae.post_quant_conv, vae.decoder
        self.factor = float(vae.config.scaling_factor)

    def forward(self, scaled: Tensor) -> Tensor:
        """The picture of the UNet's latents."""
        made: Tensor = self.decoder(self.post_quant_conv(scaled / self.factor))
        return made


def train(folder: Path, seed: int, seconds: float, lr: float = 2e-3) -> None:
    """Train (on) until the seconds are spent; the checkpoint is folder/decoder.pt."""
    net = Decoder(load_vae(folder)).train()
    known = {size: latents.load(folder, size) for size in BATCH}
    lots = {size: _lots(seed, size, len(known[size])) for size in BATCH}
    run = Run(net, folder / "decoder.pt", seconds, lr)
    rng = Random(f"{seed} decoder {worker()} {run.step}")
    torch.manual_seed(rng.randrange(1 << 30))

    def loss(_progress: float) -> tuple[Tensor, int]:
        size = 256 if run.step % 4 == 3 else 128
        numbers = rng.choices(range(len(known[size])), cum_weights=lots[size], k=BATCH[size])
        true = to_unit(np.stack([pixels(latents.scene(seed, size, n), size) for n in numbers]))
        scaled = torch.from_numpy(known[size][numbers]).float()
        scaled = scaled + DISTURBED * torch.rand(len(scaled), 1, 1, 1) * torch.randn_like(scaled)
        with torch.autocast("cpu", torch.bfloat16):
            made = net(scaled)
        return picture_loss(made.float(), true), BATCH[size] * workers()

    run.train(loss)


def _lots(seed: int, size: int, count: int) -> list[float]:
    """Lots in favour of single shapes: in small ones the decoder decides what they are."""
    return list(accumulate(practice(latents.scene(seed, size, n)) for n in range(count)))


@torch.no_grad()
def finish(folder: Path, seed: int) -> None:
    """Put the decoder into folder/model/vae and note how well the whole now reconstructs."""
    vae = load_vae(folder)
    Decoder(vae).load_state_dict(averaged(folder / "decoder.pt"))
    vae.half().save_pretrained(folder / "model" / "vae")
    note(folder, "decoder", quality(vae.float(), seed))
