"""Fits the cheapest preview: a colour as a linear function of the four latent channels."""

import json
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from tools.demo_model.finish_vae import psnr
from tools.demo_model.tiny_decoder import decode, load_vae
from tools.demo_model.train_vae import pictures
from tools.demo_model.training import note

FILE = "latent2rgb.json"


@torch.no_grad()
def fit(folder: Path, seed: int) -> None:
    """Write the factors and the bias, and note their error on scenes not used for the fit."""
    scaled, wanted = _pairs(folder, f"{seed} colour fit", 384)
    inputs = _rows(scaled)
    solution = torch.linalg.lstsq(inputs, avg_pool2d(wanted, 8).permute(0, 2, 3, 1).flatten(0, 2))
    factors, bias = solution.solution[:4], solution.solution[4]
    text = json.dumps({"factors": factors.tolist(), "bias": bias.tolist()}, indent=1)
    (folder / "model" / FILE).write_text(text + "\n")
    scaled, wanted = _pairs(folder, f"{seed} held out 128", 128)
    small = (torch.einsum("nchw,co->nohw", scaled, factors) + bias[:, None, None]).clamp(-1, 1)
    modes = ("nearest", "bicubic")
    note(folder, "latent2rgb", {m: psnr(interpolate(small, scale_factor=8, mode=m), wanted) for m in modes})


def _pairs(folder: Path, name: str, count: int) -> tuple[Tensor, Tensor]:
    vae = load_vae(folder)
    scaled = vae.encode(pictures(Random(name), count, 128)).latent_dist.mean
    scaled = scaled * vae.config.scaling_factor
    return scaled, decode(vae, scaled)


def _rows(scaled: Tensor) -> Tensor:
    rows = scaled.permute(0, 2, 3, 1).flatten(0, 2)
    return torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
