"""What a file's tensors add to a layer's weight and bias: the kinds of LyCORIS that people share, and DoRA.

Pure arithmetic in float32. Orientation and names of the tensors are those that LyCORIS and kohya's scripts
write; the formulas are from the papers that are named beside them.
"""

import math
import re
from typing import Any

import torch

Tensors = dict[str, torch.Tensor]

_MARKS = re.compile(
    r"\.(hada_\w+|lokr_\w+|dora_scale|diff|diff_b|w_norm|b_norm|lora_mid\.weight|oft_\w+|[ab][12]\.weight)$"
)
"""Ends of the keys by which such files are known; the last two (OFT, BOFT, GLoRA) to be refused by name."""
_ON_THE_WAY = 2**26
"""Numbers between the two sides of a core: more than any rank that people train makes of a layer."""
_ADDED = {"diff": "weight", "diff_b": "bias", "w_norm": "weight", "b_norm": "bias"}
"""Keys of plain differences, and what they are added to."""


def known(keys: list[str]) -> bool:
    """Whether a file with these keys has more than pairs of matrices, or layers by names of LyCORIS' own."""
    return any(_MARKS.search(key) or key.startswith("lycoris_") for key in keys)


def check_finite(tensors: Tensors) -> None:
    """Raise ValueError for a file with NaN or infinity in it: nothing but black pictures comes of one."""
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise ValueError(f"it has numbers that are none (NaN or infinity), in {key}")


def of(layer: Any, tensors: Tensors) -> Tensors:
    """What is added to weight and bias of a layer, in float32; what is left alone is left out.

    Raises ValueError, KeyError or RuntimeError where the tensors do not fit.
    """
    given = {key: tensor.to(layer.weight.device).float() for key, tensor in tensors.items()}
    added: Tensors = {}
    for key, which in _ADDED.items():
        if (difference := given.pop(key, None)) is not None:
            added[which] = _like(getattr(layer, which), difference)
    magnitude = given.pop("dora_scale", None)
    alpha = given.pop("alpha", None)
    if given:
        added["weight"] = added.get("weight", 0.0) + _difference(given, alpha, layer.weight.shape)
    if magnitude is not None:
        own = layer.weight.float()
        added["weight"] = _of_magnitude(own + added.get("weight", 0.0), magnitude) - own
    return added


def _like(own: torch.Tensor | None, difference: torch.Tensor) -> torch.Tensor:
    if own is None or own.numel() != difference.numel():
        there = "no numbers" if own is None else f"numbers of the shape {list(own.shape)}"
        raise ValueError(f"it adds {list(difference.shape)} where there are {there}")
    return difference.reshape(own.shape)


def _difference(given: Tensors, alpha: torch.Tensor | None, shape: torch.Size) -> torch.Tensor:
    """ΔW, scaled by alpha / rank; by 1 without either. Takes what it uses out of `given`."""
    rank: int | None = None
    if "hada_w1_a" in given:
        difference, rank = _hadamard(given, shape.numel())
    elif any(key.startswith("lokr_") for key in given):
        difference, rank = _kronecker(given, shape.numel())
    elif "lora_up.weight" in given:
        up, down = (given.pop(f"lora_{side}.weight").flatten(1) for side in ("up", "down"))
        core = given.pop("lora_mid.weight", None)
        difference, rank = _product(up, down, core, shape.numel()), len(down)
    else:
        difference = torch.empty(0)
    if given:
        raise ValueError(f"it has changes of a kind that is not known here ({', '.join(sorted(given))})")
    scale = 1.0 if alpha is None or rank is None else alpha.item() / rank
    return scale * difference.reshape(shape)


def _hadamard(given: Tensors, size: int) -> tuple[torch.Tensor, int]:
    """LoHa: two products multiplied number by number (FedPara, Hyeon-Woo et al. 2021, 2108.06098)."""
    first, second = (
        _oriented(given.pop(f"hada_w{n}_a"), given.pop(f"hada_w{n}_b"), given.pop(f"hada_t{n}", None), size)
        for n in (1, 2)
    )
    return first[0] * second[0], first[1]


def _kronecker(given: Tensors, size: int) -> tuple[torch.Tensor, int | None]:
    """LoKr: a Kronecker product whose factors may be products themselves (KronA, Edalati et al. 2022,
    2212.10650). Of two whole factors alpha says nothing.
    """
    rank: int | None = None
    factors = []
    for n in (1, 2):
        if (factor := given.pop(f"lokr_w{n}", None)) is None:
            up, down, core = (given.pop(f"lokr_{name}", None) for name in (f"w{n}_a", f"w{n}_b", f"t{n}"))
            if up is None or down is None:
                raise KeyError(f"lokr_w{n}")
            factor, rank = _oriented(up, down, core, size)
        factors.append(factor.flatten(1))
    if factors[0].numel() * factors[1].numel() != size:
        raise ValueError(f"its factors make no weight of {size} numbers")
    return torch.kron(*factors), rank


def _oriented(
    up: torch.Tensor, down: torch.Tensor, core: torch.Tensor | None, size: int
) -> tuple[torch.Tensor, int]:
    """The product and its rank. With a core LyCORIS has the first matrix the other way round."""
    up, down = up.flatten(1), down.flatten(1)  # of more axes they would make a matrix for each
    return _product(up if core is None else up.T, down, core, size), len(down)


def _product(up: torch.Tensor, down: torch.Tensor, core: torch.Tensor | None, most: int) -> torch.Tensor:
    """`up` (rows × rank) by `down` (rank × columns), or, by Tucker, each along one axis of a `core`
    (rank × rank × height × width). A few bytes could ask for a matrix of any size, so: not above `most`, nor
    far above it on the way there.
    """
    between = 1 if core is None else math.prod(core.shape[2:])
    on_the_way = 0 if core is None else len(up) * len(down) * between
    if len(up) * down[0].numel() * between > most or on_the_way > max(most, _ON_THE_WAY):
        raise ValueError(f"{list(up.shape)} by {list(down.shape)} make more than the layer's {most} numbers")
    if core is None:
        return up @ down
    product: torch.Tensor = torch.einsum("or,rs...,si->oi...", up, core, down)
    return product


def _of_magnitude(weight: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
    """DoRA (Liu et al. 2024, 2402.09353): the direction is the changed weight's, the length is learned.

    Of each row, or, as some trainers have it, of each column: which one, its shape says.
    """
    by_row = magnitude.shape[0] == weight.shape[0] and magnitude.numel() == weight.shape[0]
    if not by_row and magnitude.numel() != weight.shape[1]:
        raise ValueError(f"its magnitudes {list(magnitude.shape)} fit no weight of {list(weight.shape)}")
    others = [axis for axis in range(weight.dim()) if axis != (0 if by_row else 1)]
    length = torch.linalg.vector_norm(weight, dim=others, keepdim=True) + torch.finfo(weight.dtype).eps
    made: torch.Tensor = weight * (magnitude.reshape(length.shape) / length)
    return made
