"""Turns the trained autoencoder into the exported one: latents centred and scaled like SDXL's.

A shift and a factor for each latent channel are folded into the 1 x 1 convolutions at the
bottleneck, so that scaling_factor (SDXL's own) brings the latents to mean 0 and variance 1.
"""

from pathlib import Path
from random import Random

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from tools.demo_model.train_vae import new_vae, pictures
from tools.demo_model.training import averaged, note

SCALING_FACTOR = 0.13025


def psnr(made: Tensor, true: Tensor, span: float = 2.0) -> float:
    """Mean over the pictures of each one's peak signal-to-noise ratio in dB."""
    wrong = (made - true).square().mean(dim=(1, 2, 3))
    return float((10 * torch.log10(span**2 / wrong)).mean())


@torch.no_grad()
def finish(folder: Path, seed: int) -> None:
    """Write folder/model/vae in half precision and note how well it reconstructs."""
    vae = new_vae()
    vae.load_state_dict(averaged(folder / "vae.pt"))
    vae.eval()
    known = pictures(Random(f"{seed} latent statistics"), 256, 128)
    latents = vae.encode(known).latent_dist.mean
    fold(vae, latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3)) * SCALING_FACTOR)
    vae.register_to_config(scaling_factor=SCALING_FACTOR)
    vae.half().save_pretrained(folder / "model" / "vae")
    note(folder, "vae", quality(vae.float(), seed))


def fold(vae: AutoencoderKL, shift: Tensor, factor: Tensor) -> None:
    """Make the latents (old - shift) / factor, without changing any decoded picture."""
    out, back = vae.quant_conv, vae.post_quant_conv
    if out is None or back is None:
        raise RuntimeError("the autoencoder has no convolution at its bottleneck")
    out.weight[:4].div_(factor[:, None, None, None])
    out.bias[:4].sub_(shift).div_(factor)
    out.bias[4:].sub_(2 * factor.log())
    back.bias.add_(back.weight[:, :, 0, 0] @ shift)
    back.weight.mul_(factor[None, :, None, None])


def quality(vae: AutoencoderKL, seed: int) -> dict[str, object]:
    """Reconstruction of scenes never trained on, at both sizes."""
    facts: dict[str, object] = {}
    for size, count in ((128, 128), (256, 32)):
        true = pictures(Random(f"{seed} held out {size}"), count, size)
        spread = vae.encode(true).latent_dist
        facts[f"psnr_{size}"] = psnr(vae.decode(spread.mean).sample.clamp(-1, 1), true)
        facts[f"noise_{size}"] = float(spread.std.mean()) * SCALING_FACTOR
    return facts
