"""A picture to begin with: from its file to the latent that sampling sets out from.

The file was found within the home when the prompt was taken (`stock`); here it is opened, as one of three
formats only, with its pixels counted before they are decoded.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image, ImageOps

from daemon.gpu.precision import in_tiles, safe_precision
from daemon.gpu.sdxl import Checkpoint

LARGEST = 2**26
"""Pixels, 8192²: four times what a prompt may ask for."""
MAX_BYTES = 2**28


class BadImage(Exception):
    """The file is no picture that can be begun with; the message names it."""


def read(path: Path, width: int, height: int) -> tuple[Image.Image, str]:
    """The picture, upright, in RGB, scaled to cover width × height and cut to it at the centre; and the
    file's SHA-256. Raises `BadImage`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES)
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
            if image.width * image.height > LARGEST:
                raise ValueError(f"it has {image.width} × {image.height} pixels, 8192 × 8192 is the most")
            upright = _eight_bits(ImageOps.exif_transpose(image)).convert("RGB")
    except MemoryError:
        raise
    except Exception as error:
        # A damaged picture comes up as OSError, ValueError, SyntaxError, DecompressionBombError …
        raise BadImage(f"The image {path} cannot be used: {str(error).splitlines()[0]}") from error
    fitted = ImageOps.fit(upright, (width, height), Image.Resampling.LANCZOS)
    return fitted, hashlib.sha256(data).hexdigest()


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey picture of sixteen bits scaled down, as its conversion would cut it off at 255."""
    if not image.mode.startswith("I"):
        return image
    levels = np.asarray(image, np.float64) / 257
    return Image.fromarray(levels.round().clip(0, 255).astype("uint8"))


def encode(
    checkpoint: Checkpoint,
    image: Image.Image,
    dtype: torch.dtype,
    generator: torch.Generator,
    tiled: bool = False,
) -> torch.Tensor:
    """The picture as the VAE sees it, in model space: 1 × 4 × height/8 × width/8 of `dtype`.

    The VAE answers a distribution, from which `generator` draws, as in `StableDiffusionXLImg2ImgPipeline`.
    `tiled` takes less memory.
    """
    pipe: Any = checkpoint.pipe
    with torch.inference_mode(), in_tiles(pipe.vae, tiled):
        pixels = pipe.image_processor.preprocess(image).to(device=checkpoint.device, dtype=dtype)
        with safe_precision(pipe.vae, pipe.vae.config.force_upcast) as precision:
            drawn = pipe.vae.encode(pixels.to(precision)).latent_dist.sample(generator)
        return _scaled(pipe.vae, drawn.to(dtype))


def noised(scheduler: Any, clean: torch.Tensor, skipped: int, generator: torch.Generator) -> torch.Tensor:
    """The latent with the noise that belongs before call `skipped`, in the scheduler's scale."""
    noise = randn_tensor(tuple(clean.shape), generator=generator, device=clean.device, dtype=clean.dtype)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(skipped)
    table = scheduler.alphas_cumprod
    latent: torch.Tensor = scheduler.add_noise(clean, noise, scheduler.timesteps[skipped : skipped + 1])
    scheduler.alphas_cumprod = table  # some classes take it to the latent's device, and would look there
    return latent


def whole_schedule(steps: int, strength: float) -> int:
    """Of how many steps the last `steps` are, so that they begin where `strength` says: the least number n
    with ⌊n · strength⌋ = steps, which is what the stock pipeline makes of n.
    """
    whole = max(steps, int(steps / strength) - 1)
    while int(whole * strength) < steps:
        whole += 1
    return whole


def _scaled(vae: Any, latent: torch.Tensor) -> torch.Tensor:
    """From what the VAE answers to model space; `denoise` has the way back."""
    mean, deviation = vae.config.latents_mean, vae.config.latents_std
    factor: float = vae.config.scaling_factor
    if mean is None or deviation is None:
        return factor * latent
    shift = torch.tensor(mean, device=latent.device, dtype=latent.dtype).view(1, 4, 1, 1)
    spread = torch.tensor(deviation, device=latent.device, dtype=latent.dtype).view(1, 4, 1, 1)
    return (latent - shift) * factor / spread
