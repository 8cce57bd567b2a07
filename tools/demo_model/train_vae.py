"""Trains the autoencoder on drawn scenes: flat colours exact, edges sharp, latents smooth."""

from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn.functional import avg_pool2d

from tools.demo_model.draw import pixels
from tools.demo_model.scenes import random_scene
from tools.demo_model.training import Run
from tools.demo_model.workers import worker, workers

CHANNELS = (16, 32, 64, 64)
KL_WEIGHT = 2e-3
# The first three latent channels are drawn towards the cell's mean colour as brightness and
# two opponent colours: smooth to paint in, and cheap previews come out well.
COLOUR_WEIGHT = 0.1
OPPONENTS = torch.tensor([[0.9, 0.9, 0.9], [1.1, 0.0, -1.1], [-0.6, 1.2, -0.6]])
BATCH = {128: 4, 256: 1}


def new_vae() -> AutoencoderKL:
    """An untrained autoencoder: factor 8, 4 latent channels."""
    return AutoencoderKL(
        block_out_channels=CHANNELS,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=256,
        force_upcast=False,
    )


def pictures(rng: Random, count: int, size: int) -> Tensor:
    """Freshly drawn scenes as count x 3 x size x size, from -1 to 1."""
    drawn = np.stack([pixels(random_scene(rng), size) for _ in range(count)])
    return to_unit(drawn)


def to_unit(drawn: npt.NDArray[np.uint8]) -> Tensor:
    """Bytes with channels last to floats from -1 to 1 with channels first."""
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def edge_loss(made: Tensor, true: Tensor) -> Tensor:
    """How far the steps between neighbouring pixels are off, across and down."""
    wrong = made - true
    return wrong.diff(dim=2).abs().mean() + wrong.diff(dim=3).abs().mean()


def picture_loss(made: Tensor, true: Tensor) -> Tensor:
    """Absolute, squared and edge error together."""
    wrong = made - true
    return wrong.abs().mean() + wrong.square().mean() + edge_loss(made, true)


def colour_loss(latents: Tensor, true: Tensor) -> Tensor:
    """How far the first three channels are from the mean colour of their cell."""
    wanted = torch.einsum("oc,nchw->nohw", OPPONENTS, avg_pool2d(true, 8))
    return (latents[:, :3] - wanted).abs().mean()


def train(folder: Path, seed: int, seconds: float, lr: float = 3e-3) -> None:
    """Train (on) until the seconds are spent; the checkpoint is folder/vae.pt."""
    torch.manual_seed(seed)
    vae = new_vae()
    run = Run(vae, folder / "vae.pt", seconds, lr)
    rng = Random(f"{seed} vae {worker()} {run.step}")
    torch.manual_seed(rng.randrange(1 << 30))

    def loss(_progress: float) -> tuple[Tensor, int]:
        size = 256 if run.step % 5 == 4 else 128
        true = pictures(rng, BATCH[size], size)
        return vae_loss(vae, true), BATCH[size] * workers()

    run.train(loss)


def vae_loss(vae: AutoencoderKL, true: Tensor) -> Tensor:
    """Reconstruction from a drawn latent, and a little pull towards the unit normal."""
    with torch.autocast("cpu", torch.bfloat16):
        spread = vae.encode(true).latent_dist
        made = vae.decode(spread.sample()).sample
    pull = (spread.kl() / spread.mean[0].numel()).float().mean()
    colour = colour_loss(spread.mean.float(), true)
    total: Tensor = picture_loss(made.float(), true) + KL_WEIGHT * pull + COLOUR_WEIGHT * colour
    return total
