"""Encodes the drawn training scenes once; the UNet then trains on these latents."""

from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL

from tools.demo_model.draw import pixels
from tools.demo_model.scenes import Scene, random_scene
from tools.demo_model.train_vae import to_unit
from tools.demo_model.workers import worker, workers

COUNTS = {128: 40000, 256: 5000}
CHUNK = 32

Half = npt.NDArray[np.float16]


def scene(seed: int, size: int, number: int) -> Scene:
    """The training scene of that number; nothing but the seed needs to be kept."""
    return random_scene(Random(f"{seed} scene {size} {number}"))


def encode(folder: Path, seed: int) -> None:
    """Write this process's share of the latents; a finished share is left alone."""
    vae = AutoencoderKL.from_pretrained(folder / "model" / "vae", torch_dtype=torch.float32)
    for size, count in COUNTS.items():
        path = _path(folder, size, worker())
        if not path.exists():
            numbers = range(worker(), count, workers())
            np.save(path, _encoded(vae, seed, size, list(numbers)))


@torch.inference_mode()
def _encoded(vae: AutoencoderKL, seed: int, size: int, numbers: list[int]) -> Half:
    parts = []
    chunk = CHUNK * 128**2 // size**2
    for start in range(0, len(numbers), chunk):
        drawn = [pixels(scene(seed, size, n), size) for n in numbers[start : start + chunk]]
        with torch.autocast("cpu", torch.bfloat16):
            mean = vae.encode(to_unit(np.stack(drawn))).latent_dist.mean
        parts.append((mean.float() * vae.config.scaling_factor).numpy().astype(np.float16))
    return np.concatenate(parts)


def load(folder: Path, size: int) -> Half:
    """All latents of that size, ordered by the numbers of their scenes."""
    paths = sorted(folder.glob(f"latents-{size}-*.npy"))
    shares = [np.load(path) for path in paths]
    whole = np.empty((COUNTS[size], *shares[0].shape[1:]), np.float16)
    for i, share in enumerate(shares):
        whole[i :: len(shares)] = share
    return whole


def _path(folder: Path, size: int, share: int) -> Path:
    return folder / f"latents-{size}-{share}.npy"
