"""A checkpoint → the parts that `denoise` works with.

One way in for every SDXL checkpoint: a 7 GB file in half precision on a GPU and the built-in demo model on
a CPU are read by the same lines. Nothing is fetched: what is not in the folder or file is missing.
Foreign errors become `BadModel` here and nowhere else.
"""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import diffusers
import msgspec
import torch
from safetensors import SafetensorError, safe_open

from daemon.gpu import memory, merging, previews, single_file, speed, taesd, whole
from daemon.settings import resolve

library: Any = diffusers
"""The same module: its constructors are untyped."""
FACTORS = "latent2rgb.json"
"""Beside the weights of a checkpoint whose VAE is not SDXL's own: `{"factors": 4 × 3, "bias": 3}`."""


class BadModel(Exception):
    """The checkpoint cannot be used; the message is one sentence for the person who chose it."""

    model = ""
    """The path that was asked for."""


Role = Literal["base", "refiner"]
"""What a checkpoint is to do. Any can refine, SDXL's own refiner can do nothing else."""
_KINDS = {
    "base": ("StableDiffusionXLPipeline",),
    "refiner": ("StableDiffusionXLPipeline", single_file.REFINER),
}


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
    adapters: list[str] = field(default_factory=list)
    """The LoRAs that are in memory beside it, by what `loras` calls them; the one last used last."""
    merged: merging.Merged = field(default_factory=merging.Merged)
    """What is in its weights that is not its own (`loras`)."""
    version: str = ""
    """Of the files that it was read from, as `wire.Begin` names it."""
    at_once: dict[object, int] = field(default_factory=dict)
    """Pictures in a call of the UNet, by what they have alike, where memory ran out for more (`spare`)."""

    @property
    def refines(self) -> bool:
        """Whether it is SDXL's refiner, which can only go on from another checkpoint's steps."""
        return self.pipe.text_encoder is None

    @property
    def bytes(self) -> int:
        """Size of the parameters and buffers in memory."""
        parts = (part for part in self.pipe.components.values() if isinstance(part, torch.nn.Module))
        tensors = (tensor for part in parts for tensor in (*part.parameters(), *part.buffers()))
        return sum(tensor.nbytes for tensor in tensors)


class Shelf:
    """The checkpoints that a device holds: as many as fit, the least recently used go first."""

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        compiling: speed.Compiling | None = None,
    ) -> None:
        """Checkpoints are held in `dtype`, with their UNets compiled or not."""
        self.device = device
        self.dtype = dtype
        self._compiling = compiling
        self.decoders = taesd.Decoders(device)
        self.stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        """Where previews are made, beside sampling."""
        self._held: dict[Path, Checkpoint] = {}
        """The one last used last."""

    def __repr__(self) -> str:
        return f"<Shelf on {self.device}: {', '.join(path.name for path in self._held) or 'empty'}>"

    def names(self) -> list[str]:
        """The paths of all that are in memory, as `find` knows them."""
        return [str(path) for path in self._held]

    def find(self, path: Path, version: str = "") -> Checkpoint | None:
        """The checkpoint, if it is in memory as this version; it then counts as the last used."""
        held = self._held.pop(path, None)
        if held is None:
            return None
        if held.version != version:
            del held  # nobody will ask for it again
            memory.release(self.device)
            return None
        self._held[path] = held
        return held

    def load(self, path: Path, version: str = "", role: Role = "base") -> Checkpoint:
        """Read a checkpoint, with others leaving memory until it fits. Raises `BadModel`."""
        self._make_room(estimate(path, self.dtype))
        self._held[path] = replace(load(path, self.device, self.dtype, role), version=version)
        speed.tune(self._held[path].pipe, self.device, self._compiling)
        return self._held[path]

    def keep_only(self, path: Path) -> None:
        """Have all others leave memory."""
        self._held = {held: checkpoint for held, checkpoint in self._held.items() if held == path}
        memory.release(self.device)

    def _make_room(self, wanted: int) -> None:
        memory.release(self.device)  # what pictures worked in is kept for the next ones, and counts as taken
        while self._held and memory.free(self.device) < wanted * ROOM:
            del self._held[next(iter(self._held))]
            memory.release(self.device)


ROOM = 1.5
"""A checkpoint's size times this must be free before it is read: a picture at work needs memory too."""


def estimate(path: Path, dtype: torch.dtype) -> int:
    """Bytes of the checkpoint in memory, from its weights' headers; 0 for what cannot be read."""
    return sum(map(_values, weights(path, dtype))) * dtype.itemsize


def weights(path: Path, dtype: torch.dtype) -> list[Path]:
    """The files of numbers that `load` reads; none where there is nothing that it could."""
    path = resolve(path)
    if not path.is_dir():
        return [path] if path.is_file() else []
    half = _variant(path, dtype) is not None
    return [file for name in whole.PARTS for file in _files(path / name, half)]


def _files(part: Path, half: bool) -> list[Path]:
    """A part's weights; those of half precision, if there are any."""
    files = sorted(part.glob("*.safetensors"))
    halves = [file for file in files if _is_half(file)]
    return halves if half and halves else [file for file in files if file not in halves]


def _values(path: Path) -> int:
    """How many numbers a file of weights holds; 0 where that cannot be known."""
    try:
        with safe_open(path, "pt") as file:
            return sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118  no dict
    except (OSError, SafetensorError):
        return 0  # loading it will say what is wrong


def load(path: Path, device: torch.device, dtype: torch.dtype, role: Role = "base") -> Checkpoint:
    """Read a diffusers folder or a single file in `dtype` onto `device`.

    Raises `BadModel` where it is missing, foreign, incomplete or damaged. Running out of memory is not the
    checkpoint's fault and is raised as it is.
    """
    path = resolve(path)
    latent2rgb = inspect(path, role)
    try:
        pipe = single_file.load(path, dtype, role) if path.is_file() else _read_folder(path, dtype)
        whole.check(pipe, path)
        checkpoint = Checkpoint(path, pipe.to(device), latent2rgb, device, dtype)
    except Exception as error:
        if memory.ran_out(error):
            raise
        # A damaged checkpoint comes up as nearly anything: OSError, SafetensorError, KeyError, TypeError …
        raise BadModel(f"The checkpoint {path} cannot be loaded: {_first_line(error)}") from error
    _check(checkpoint)
    return checkpoint


def _read_folder(path: Path, dtype: torch.dtype) -> Any:
    return library.DiffusionPipeline.from_pretrained(  # of the kind that its index names
        path,
        local_files_only=True,
        use_safetensors=True,
        add_watermarker=False,
        dtype=dtype,
        variant=_variant(path, dtype),
    )


def inspect(path: Path, role: Role) -> previews.Latent2rgb:
    """Refuse what is plainly no SDXL checkpoint before gigabytes are read; its latent2rgb factors."""
    path = resolve(path)
    if path.is_dir():
        _inspect_folder(path, role)
        return _factors(path)
    if not path.is_file():
        raise BadModel(f"There is no checkpoint folder {path}, nor a file {path.name}.safetensors beside it.")
    if path.suffix != ".safetensors":
        raise BadModel(f"The checkpoint {path} is no .safetensors file, and no other kind is safe to open.")
    return _factors(path.with_suffix(".config"))


def _inspect_folder(path: Path, role: Role) -> None:
    try:
        index = msgspec.json.decode((path / "model_index.json").read_bytes(), type=_Index)
    except FileNotFoundError:
        raise BadModel(f"The folder {path} is no diffusers checkpoint: it has no model_index.json.") from None
    except (OSError, msgspec.DecodeError) as error:
        raise BadModel(f"The model_index.json of {path} cannot be read: {_first_line(error)}") from error
    if index.kind not in _KINDS[role]:
        alone = index.kind == single_file.REFINER
        what = (
            "SDXL's refiner, which cannot be used alone"
            if alone
            else f"a {index.kind}, not a {_KINDS[role][0]}"
        )
        raise BadModel(f"The checkpoint {path} is {what}.")
    for name in ("tokenizer_2",) if index.kind == single_file.REFINER else ("tokenizer", "tokenizer_2"):
        if not single_file.is_tokenizer(path / name):
            raise BadModel(f"The checkpoint {path} has no {name}: tokenizer.json or vocab.json is missing.")


def _variant(path: Path, dtype: torch.dtype) -> str | None:
    """`fp16` where the UNet comes in half precision and either that is wanted or nothing else is there."""
    files = list((path / "unet").glob("*.safetensors"))
    halves = [file for file in files if _is_half(file)]
    wanted = dtype != torch.float32 or len(halves) == len(files)
    return "fp16" if halves and wanted else None


def _is_half(file: Path) -> bool:
    return ".fp16." in file.name or ".fp16-" in file.name


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
    first = () if type(pipe).__name__ == single_file.REFINER else ("tokenizer", "text_encoder")
    for name in (*first, "tokenizer_2", "text_encoder_2", "unet", "vae", "scheduler"):
        if getattr(pipe, name) is None:
            raise BadModel(f"The checkpoint {path} has no {name}.")
    if pipe.unet.config.in_channels != 4 or pipe.unet.config.addition_embed_type != "text_time":
        raise BadModel(f"The UNet of {path} is not that of a plain SDXL checkpoint.")


def _first_line(error: Exception) -> str:
    """What a library had to say, without its paragraphs of advice."""
    text = str(error).strip()
    if "meta tensor" in text:  # which is what weights are left as that were in no file
        return "it lacks some of its weights"
    return text.splitlines()[0] if text else type(error).__name__
