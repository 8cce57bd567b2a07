"""A checkpoint's folder → the parts that `denoise` works with.

One way in for every SDXL checkpoint: a 7 GB folder in half precision on a GPU and the built-in demo
model on a CPU are read by the same lines. Nothing is fetched: what is not in the folder is missing.
Foreign errors become `BadModel` here and nowhere else.
"""

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from diffusers import StableDiffusionXLPipeline

from daemon.gpu import previews

FACTORS = "latent2rgb.json"
"""Beside the weights of a checkpoint whose VAE is not SDXL's own: `{"factors": 4 × 3, "bias": 3}`."""


class BadModel(Exception):
    """The checkpoint cannot be used; the message is one sentence for the person who chose it."""


class _Index(msgspec.Struct, rename={"kind": "_class_name"}):
    """The part of `model_index.json` that tells what a diffusers folder holds."""

    kind: str | list[str]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory."""

    path: Path
    pipe: Any
    """The `StableDiffusionXLPipeline` (Any: its parts are set at run time, which no type checker sees),
    as the holder of the parts; its `__call__` and its scheduler's state are never used."""
    latent2rgb: previews.Latent2rgb
    device: torch.device
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Size of the parameters and buffers in memory."""
        parts = (part for part in self.pipe.components.values() if isinstance(part, torch.nn.Module))
        tensors = (tensor for part in parts for tensor in (*part.parameters(), *part.buffers()))
        return sum(tensor.nbytes for tensor in tensors)


class Shelf:
    """The checkpoints that a device holds: one, the last that was asked for."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._held: Checkpoint | None = None

    def __repr__(self) -> str:
        return f"<Shelf on {self.device}: {self._held.path.name if self._held else 'empty'}>"

    def find(self, path: Path) -> Checkpoint | None:
        """The checkpoint, if it is in memory."""
        return self._held if self._held and self._held.path == path else None

    def load(self, path: Path) -> Checkpoint:
        """Read a checkpoint in the place of the one held. Raises `BadModel`; the shelf is then empty."""
        self._held = None  # before reading: two of them may not fit
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        dtype = torch.float16 if self.device.type == "cuda" else torch.float32
        self._held = load(path, self.device, dtype)
        return self._held


def load(path: Path, device: torch.device, dtype: torch.dtype) -> Checkpoint:
    """Read a diffusers folder in `dtype` onto `device`.

    Raises `BadModel` where the folder is missing, foreign, incomplete or damaged. Running out of memory is
    not the checkpoint's fault and is raised as it is.
    """
    _inspect(path)
    latent2rgb = _factors(path)
    try:
        pipe: Any = StableDiffusionXLPipeline.from_pretrained(  # type: ignore[no-untyped-call]  # as it is
            path,
            local_files_only=True,
            use_safetensors=True,
            add_watermarker=False,
            dtype=dtype,
            variant=_variant(path, dtype),
        )
        checkpoint = Checkpoint(path, pipe.to(device), latent2rgb, device, dtype)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        # A damaged folder comes up as nearly anything: OSError, SafetensorError, KeyError, TypeError …
        raise BadModel(f"The checkpoint {path} cannot be loaded: {_first_line(error)}") from error
    _check(checkpoint)
    return checkpoint


def _inspect(path: Path) -> None:
    """Refuse what is plainly no SDXL folder before gigabytes are read."""
    if path.is_file():
        raise BadModel(
            f"The checkpoint {path} is a single file; for now only diffusers folders can be loaded."
        )
    if not path.is_dir():
        raise BadModel(f"There is no checkpoint folder {path}.")
    try:
        index = msgspec.json.decode((path / "model_index.json").read_bytes(), type=_Index)
    except FileNotFoundError:
        raise BadModel(f"The folder {path} is no diffusers checkpoint: it has no model_index.json.") from None
    except (OSError, msgspec.DecodeError) as error:
        raise BadModel(f"The model_index.json of {path} cannot be read: {_first_line(error)}") from error
    if index.kind != "StableDiffusionXLPipeline":
        raise BadModel(f"The checkpoint {path} is a {index.kind}, not a StableDiffusionXLPipeline.")
    for name in ("tokenizer", "tokenizer_2"):
        # transformers 5 makes an empty tokenizer of a folder that is not there, and every prompt reads alike
        if not any((path / name / file).is_file() for file in ("tokenizer.json", "vocab.json")):
            raise BadModel(f"The checkpoint {path} has no {name}: tokenizer.json or vocab.json is missing.")


def _variant(path: Path, dtype: torch.dtype) -> str | None:
    """`fp16` where the UNet comes in half precision and either that is wanted or nothing else is there."""
    files = list((path / "unet").glob("*.safetensors"))
    halves = [file for file in files if ".fp16." in file.name or ".fp16-" in file.name]
    wanted = dtype == torch.float16 or len(halves) == len(files)
    return "fp16" if halves and wanted else None


def _factors(path: Path) -> previews.Latent2rgb:
    file = path / FACTORS
    if not file.is_file():
        return previews.SDXL
    try:
        return msgspec.json.decode(file.read_bytes(), type=previews.Latent2rgb)
    except (OSError, msgspec.DecodeError) as error:
        raise BadModel(f"The {FACTORS} of {path} cannot be used: {_first_line(error)}") from error


def _check(checkpoint: Checkpoint) -> None:
    """Refuse relatives of SDXL that would load and then sample nonsense."""
    pipe, path = checkpoint.pipe, checkpoint.path
    for name in ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", "unet", "vae", "scheduler"):
        if getattr(pipe, name) is None:
            raise BadModel(f"The checkpoint {path} has no {name}.")
    if pipe.unet.config.in_channels != 4 or pipe.unet.config.addition_embed_type != "text_time":
        raise BadModel(f"The UNet of {path} is not that of a plain SDXL checkpoint.")
    if pipe.unet.config.time_cond_proj_dim is not None:
        raise BadModel(f"The UNet of {path} is guidance-distilled, which cannot be sampled yet.")


def _first_line(error: Exception) -> str:
    """What a library had to say, without its paragraphs of advice."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
