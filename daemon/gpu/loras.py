"""LoRAs beside a checkpoint: read by diffusers' own loader, kept while it is warm, switched per picture.

A file is read once for as long as it does not change. A picture without LoRAs, or with weights of 0, goes
through the checkpoint's own layers alone, so that it is bit for bit what it was before any was loaded.
kohya's key names (`lora_unet_…`, `lora_te1_…`) and peft's are both read. What is no pair of small matrices
(LoHa, LoKr, DoRA in kohya's form …) goes into the weights themselves (`merging`).
"""

import hashlib
import math
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import torch
from diffusers.utils import peft_utils
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from daemon.gpu import differences, memory, merging, wire
from daemon.gpu.sdxl import Checkpoint

KEPT = 8
"""LoRAs in memory beside a checkpoint, the last used ones; each is some tens to hundreds of MB."""

_DOWN = {
    ".lora_up.weight": ".lora_down.weight",
    ".lora_B.weight": ".lora_A.weight",
    ".lora.up.weight": ".lora.down.weight",
    "_lora.up.weight": "_lora.down.weight",
    ".lora_linear_layer.up.weight": ".lora_linear_layer.down.weight",
}
"""What the keys of second matrices end in, and of those before them: kohya's, peft's, diffusers' old ones."""

layers: Any = peft_utils
"""diffusers' own switches for peft's layers in any module (Any: they are untyped)."""


class BadLora(Exception):
    """The file cannot be used with this checkpoint; the message names it."""


def apply(checkpoint: Checkpoint, wanted: list[wire.Lora]) -> None:
    """Have the checkpoint's parts work with just these. Raises `BadLora`."""
    weights: dict[Path, float] = {}
    for lora in wanted:  # one may be named twice
        weights[Path(lora.file)] = weights.get(Path(lora.file), 0.0) + lora.weight
    names = {path: _named(path) for path in weights}
    changes = [
        merging.Change(names[path], path, weight)
        for path, weight in weights.items()
        if names[path] not in checkpoint.adapters and _is_merged(checkpoint, path)
    ]
    beside = weights.keys() - {change.path for change in changes}
    for path in [path for path in weights if path in beside]:
        _hold(checkpoint, path, names[path])
    _switch(checkpoint, {names[path]: weights[path] for path in beside if weights[path] != 0})
    _forget_old(checkpoint, keep=len(beside))
    _merge(checkpoint, [change for change in changes if change.weight != 0])


def _merge(checkpoint: Checkpoint, changes: list[merging.Change]) -> None:
    """Have just these in the weights themselves."""
    changes.sort(key=lambda change: change.name)  # sums depend on their order
    encoders = [checkpoint.pipe.text_encoder, checkpoint.pipe.text_encoder_2]
    try:
        merging.put(checkpoint.pipe.unet, encoders, checkpoint.merged, changes)
        return
    except merging.Misfit as misfit:
        path, error = misfit.path, misfit.error
    _blame(path, checkpoint, error)


def _switch(checkpoint: Checkpoint, active: dict[str, float]) -> None:
    """Have each part's layers work with these alone; a part that has none of them, by its own weights."""
    for part in _parts(checkpoint):
        here = sorted(name for name in active if name in _adapters(part))  # sums depend on their order
        if here:
            layers.set_weights_and_activate_adapters(part, here, [active[name] for name in here])
        layers.set_adapter_layers(part, enabled=bool(here))
        if hasattr(part, "peft_config"):
            _mark_trainable(part, not here)


def _mark_trainable(part: Any, trainable: bool) -> None:
    """As the checkpoint's own weights are without LoRAs, or with. peft turns it off for good; nobody trains
    here, but torch sums a product in another order by it (`should_fold` in ATen's `LinearAlgebra.cpp`).
    """
    for name, parameter in part.named_parameters():
        if ".lora_" not in name:
            parameter.requires_grad_(trainable)


def _named(path: Path) -> str:
    """What this very version of a file is called in memory."""
    try:
        status = path.stat()
    except OSError as error:
        raise BadLora(f"The LoRA {path} cannot be read: {error.strerror}.") from error
    version = f"{path} {status.st_ino} {status.st_size} {status.st_mtime_ns}"
    return f"lora_{hashlib.sha256(version.encode()).hexdigest()[:16]}"


def _hold(checkpoint: Checkpoint, path: Path, name: str) -> None:
    """Have it in memory, read from its file if need be; it is now the one last used."""
    if name in checkpoint.adapters:
        checkpoint.adapters.remove(name)
    else:
        _read(checkpoint, path, name)
    checkpoint.adapters.append(name)


def _is_merged(checkpoint: Checkpoint, path: Path) -> bool:
    """Whether a file's changes go into the weights themselves."""
    try:
        keys = _keys(path)
    except Exception as error:  # noqa: BLE001  a foreign file comes up as nearly anything
        _blame(path, checkpoint, error)
    return differences.known(keys)


def _read(checkpoint: Checkpoint, path: Path, name: str) -> None:
    """Load a file under a name. A file that fails leaves nothing behind."""
    try:
        given = load_file(path)
        differences.check_finite(given)
        tensors = _scaled(given, _told(path))
        with torch.random.fork_rng(devices=[]):  # layers are made with random weights, then filled
            checkpoint.pipe.load_lora_weights(tensors, adapter_name=name)
        _check_placed(checkpoint, tensors, name)
    except Exception as error:  # noqa: BLE001  as above
        _forget(checkpoint, name)
        _blame(path, checkpoint, error)


def _blame(path: Path, checkpoint: Checkpoint, error: Exception) -> NoReturn:
    """Raise what went wrong with a file as `BadLora`; lack of memory is not the file's fault."""
    if memory.ran_out(error):
        raise error
    raise BadLora(f"The LoRA {path} cannot be used with {checkpoint.path.name}: {_brief(error)}") from error


def _keys(path: Path) -> list[str]:
    """Of a LoRA's tensors. Raises ValueError for a safetensors file of another kind."""
    with safe_open(path, "pt") as file:
        keys = list(file.keys())
    if not differences.known(keys) and not any("lora" in key.lower() for key in keys):
        raise ValueError("it is no LoRA: none of its keys is one's")
    return keys


def _told(path: Path) -> dict[str, Any]:
    """What diffusers' training scripts say of a file in its header: peft's settings, by part."""
    with safe_open(path, "pt") as file:
        header: dict[str, str] = file.metadata() or {}
    try:
        return msgspec.json.decode(header.get("lora_adapter_metadata", "{}"), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ValueError(f"what its header says of its alphas cannot be read ({error})") from error


def _scaled(tensors: dict[str, torch.Tensor], told: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The same with each layer's alpha / rank in its two matrices, and no alpha beside them.

    diffusers' loader gives layers whose alpha is not that of most others, or that have none, the others'; a
    LoRA's convolutions often have their own. What it does not know as a layer is left as it is, for it to
    refuse.
    """
    scaled = dict(tensors)
    for key, up in tensors.items():
        ending = next((ending for ending in _DOWN if key.endswith(ending)), None)
        if ending is None or (down := tensors.get(key.removesuffix(ending) + _DOWN[ending])) is None:
            continue
        layer, rank = key.removesuffix(ending), len(down)
        beside = scaled.pop(f"{layer}.alpha", None)
        scale = _scale(layer, told, rank) if beside is None else beside.item() / rank
        if scale != 1:
            # Half of it in each, that small numbers stay within float16; a power of two rounds nothing.
            half = 2.0 ** (math.frexp(scale)[1] // 2)
            scaled[layer + _DOWN[ending]] = _multipliable(down) * half
            scaled[key] = _multipliable(up) * (scale / half)
    return scaled


def _multipliable(tensor: torch.Tensor) -> torch.Tensor:
    """torch has no arithmetic for numbers of eight bits; float16 holds all of them."""
    return tensor.half() if tensor.dtype.itemsize == 1 else tensor


def _scale(layer: str, told: dict[str, Any], rank: int) -> float:
    """By what peft was told of a layer, 1 if nothing: alpha / r, or alpha / √r (Kalajdzievski 2023,
    2312.03732).
    """
    part, _, name = layer.partition(".")
    if f"{part}.lora_alpha" not in told:
        return 1.0
    own: dict[str, float] = told.get(f"{part}.alpha_pattern") or {}
    others = float(told[f"{part}.lora_alpha"])
    alpha = next((own[end] for end in own if f".{name}".endswith(f".{end}")), others)
    return float(alpha) / (rank**0.5 if told.get(f"{part}.use_rslora") else rank)


def _check_placed(checkpoint: Checkpoint, tensors: dict[str, torch.Tensor], name: str) -> None:
    """Raise ValueError where layers of the file have found no place: the loader is silent about those, and
    leaves zeros, which would do nothing.
    """
    there = sum(bool(tensor.any()) for key, tensor in tensors.items() if key.endswith(tuple(_DOWN)))
    modules = [module for part in _parts(checkpoint) for module in part.modules()]
    made = [module.lora_B[name] for module in modules if name in getattr(module, "lora_B", {})]
    placed = sum(bool(layer.weight.any()) for layer in made)
    if placed < there or not made:
        raise ValueError(f"{placed} of its {there} layers have a place in the checkpoint")


def _forget_old(checkpoint: Checkpoint, keep: int) -> None:
    while len(checkpoint.adapters) > max(KEPT, keep):
        _forget(checkpoint, checkpoint.adapters.pop(0))


def _forget(checkpoint: Checkpoint, name: str) -> None:
    """Take a LoRA out of every part that has it, also one that was loaded in half."""
    for part in _parts(checkpoint):
        layers.delete_adapter_layers(part, name)


def _parts(checkpoint: Checkpoint) -> list[Any]:
    parts = (getattr(checkpoint.pipe, name) for name in ("unet", "text_encoder", "text_encoder_2"))
    return [part for part in parts if part is not None]  # SDXL's refiner has one text encoder


def _adapters(part: Any) -> dict[str, Any]:
    known: dict[str, Any] = getattr(part, "peft_config", {})
    return known


def _brief(error: Exception) -> str:
    if isinstance(error, SafetensorError):
        return f"it is damaged or cut off ({error})"
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    return " ".join(str(error).split())[:300] or type(error).__name__
