"""Changes of a checkpoint's weights that are no pair of small matrices: LyCORIS' kinds, and DoRA.

They are put into the weights themselves (`differences` says by what arithmetic), and the checkpoint's own
numbers are kept aside in the machine's memory meanwhile, to come back bit for bit. A step costs what it costs
without; a change of what is merged costs up to half a minute on two cores for a whole SDXL.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from daemon.gpu import differences, sgm
from daemon.gpu.differences import Tensors


@dataclass(frozen=True)
class Change:
    """A file that is to be merged."""

    name: str
    """Of this very version of the file."""
    path: Path
    weight: float


@dataclass
class Merged:
    """What is in a checkpoint's weights beside its own numbers."""

    names: dict[str, float] | None = field(default_factory=dict)
    """What is in it, and by which weight; None while it is being changed, or where that was cut off."""
    own: list[tuple[nn.Parameter, torch.Tensor]] = field(default_factory=list)
    """The parameters that are changed, and what they are of themselves, on the CPU."""


class Misfit(Exception):
    """A file cannot be merged."""

    def __init__(self, path: Path, error: Exception) -> None:
        """Its path, and why."""
        super().__init__(path, error)
        self.path = path
        self.error = error


@torch.no_grad()
def put(unet: Any, encoders: list[Any], merged: Merged, wanted: list[Change]) -> None:
    """Have just these in the weights of the UNet and of the text encoders. Raises `Misfit`, and leaves the
    checkpoint's own numbers then.
    """
    names = {change.name: change.weight for change in wanted}
    if names == merged.names:
        return
    _take_out(merged)
    with ExitStack() as undo:
        undo.callback(_take_out, merged)
        for layer, changes in _by_layer(_places(unet, encoders), wanted).items():
            _change(layer, changes, merged)
        undo.pop_all()
    merged.names = names


def _take_out(merged: Merged) -> None:
    """The checkpoint as it was read."""
    merged.names = None
    while merged.own:
        parameter, own = merged.own[-1]
        parameter.data.copy_(own)
        merged.own.pop()
    merged.names = {}


def _by_layer(places: dict[str, Any], wanted: list[Change]) -> dict[Any, list[tuple[Change, Tensors]]]:
    """The files' tensors by the layer that they change."""
    layers: dict[Any, list[tuple[Change, Tensors]]] = {}
    for change in wanted:
        with _of(change):
            tensors = load_file(change.path)
            differences.check_finite(tensors)
            groups = _groups(tensors)
            if strange := sorted(groups.keys() - places.keys()):
                placed = f"{len(groups) - len(strange)} of its {len(groups)} layers"
                raise ValueError(f"{placed} have a place in the checkpoint; {strange[0]} has none")
        for name, tensors in groups.items():
            layers.setdefault(places[name], []).append((change, tensors))
    return layers


@contextmanager
def _of(change: Change) -> Iterator[None]:
    """What goes wrong here is the file's fault, or lack of memory."""
    try:
        yield
    except Exception as error:
        raise Misfit(change.path, error) from error


def _groups(tensors: Tensors) -> dict[str, Tensors]:
    groups: dict[str, Tensors] = {}
    for key, tensor in tensors.items():
        layer, _, rest = key.partition(".")
        groups.setdefault(layer, {})[rest] = tensor
    return groups


def _places(unet: Any, encoders: list[Any]) -> dict[str, Any]:
    """The layers by what files call them: kohya's names in either layout, and LyCORIS' own."""
    places: dict[str, Any] = {}
    for name, layer in _layers(unet):
        places[f"lora_unet_{_flat(name)}"] = places[f"lycoris_{_flat(name)}"] = layer
        if unet.config.layers_per_block == 2 and (theirs := sgm.layer_name(name)):
            places[f"lora_unet_{_flat(theirs)}"] = layer
    for number, encoder in enumerate(encoders, 1):  # SDXL's own refiner has none, and is given no LoRAs
        for name, layer in _layers(encoder):
            short = name.removeprefix("text_model.")  # which one of the two encoders' classes has
            for each in (short, f"text_model.{short}"):
                places[f"lora_te{number}_{_flat(each)}"] = layer
    return places


def _layers(part: nn.Module) -> Iterator[tuple[str, Any]]:
    """Of its own: not what peft lays beside them, in which it wraps some."""
    for name, module in part.named_modules():
        if ".lora_" not in name and isinstance(module, nn.Linear | nn.Conv2d | nn.LayerNorm | nn.GroupNorm):
            yield name.removesuffix(".base_layer"), module


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _change(layer: Any, changes: list[tuple[Change, Tensors]], merged: Merged) -> None:
    """Put the sum of the changes into a layer; each is reckoned from the checkpoint's own numbers."""
    sums: Tensors = {}
    for change, tensors in changes:
        with _of(change):
            for which, added in differences.of(layer, tensors).items():
                difference = change.weight * added
                sums[which] = sums[which] + difference if which in sums else difference
    for which, difference in sums.items():
        parameter: nn.Parameter = getattr(layer, which)
        merged.own.append((parameter, parameter.detach().cpu().clone()))
        parameter.data.copy_(parameter + difference)
