"""TAESD's tiny decoder for previews: found, read, and kept.

Its original file is a bare `nn.Sequential` (67 tensors, layer 0 without weights); `DecoderTiny` of diffusers
is the same without that layer, so every number in a key is one lower. A diffusers folder goes as well.
"""

import re
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders import vae
from safetensors.torch import load_file

NAMES = ("taesdxl_decoder.safetensors", "taesdxl_decoder.pth", "taesdxl")
"""Files as ComfyUI and TAESD's own repository name them, and a diffusers folder; the first one counts."""
OWN = "vae_approx"
"""Inside a checkpoint's folder: a decoder for that checkpoint's own VAE."""


class BadDecoder(Exception):
    """The file is no decoder for SDXL's latents; the message says why."""


class Decoders:
    """The decoders that a device holds, each read once, or found bad once."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._known: dict[tuple[Path, int], Any] = {}

    def __repr__(self) -> str:
        return f"<Decoders on {self._device}: {len(self._known)}>"

    def get(self, path: Path, dtype: torch.dtype) -> Any:
        """The decoder at `path`: latents n × 4 × h × w → pictures n × 3 × 8h × 8w in −1 … 1.

        Raises `BadDecoder`, for the same file with the same words each time.
        """
        key = (path, path.stat().st_mtime_ns)
        if key not in self._known:
            try:
                self._known[key] = self._placed(load(path), dtype)
            except BadDecoder as error:
                self._known[key] = error
        known = self._known[key]
        if isinstance(known, BadDecoder):
            raise known
        return known

    def _placed(self, decoder: Any, dtype: torch.dtype) -> Any:
        """On the device, in the order in which its convolutions are quick there."""
        placed = decoder.to(self._device, dtype)
        return placed.to(memory_format=torch.channels_last) if self._device.type == "cuda" else placed


def find(folder: Path) -> Path | None:
    """The decoder in a `vae_approx` folder, if there is one."""
    return next((folder / name for name in NAMES if (folder / name).exists()), None)


def load(path: Path) -> Any:
    """Read a decoder, on the CPU in float32. Raises `BadDecoder`."""
    try:
        if path.is_dir():
            return AutoencoderTiny.from_pretrained(path, local_files_only=True).decoder.eval()  # type: ignore[no-untyped-call]  # as it is
        decoder: Any = _empty()
        decoder.load_state_dict({_shifted(key): value for key, value in _tensors(path).items()})
        return decoder.eval()
    except Exception as error:
        # A damaged or foreign file comes up as nearly anything.
        words = str(error).strip().splitlines()
        raise BadDecoder(f"{path.name}: {' '.join(words[:2]) or type(error).__name__}") from error


def _empty() -> Any:
    """In TAESD's shape (madebyollin/taesd, `taesd.py`)."""
    kind: Any = vae.DecoderTiny
    return kind(
        in_channels=4,
        out_channels=3,
        num_blocks=(3, 3, 3, 1),
        block_out_channels=(64, 64, 64, 64),
        upsampling_scaling_factor=2,
        act_fn="relu",
        upsample_fn="nearest",
    )


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    tensors: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors


def _shifted(key: str) -> str:
    """`3.conv.0.weight` → `layers.2.conv.0.weight`."""
    return re.sub(r"^(\d+)", lambda number: f"layers.{int(number[0]) - 1}", key)
