"""What `doctor` looks at in `models/`: checkpoints, their preview factors, the tiny decoder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from daemon.commands.findings import Finding, bad, good, note
from daemon.settings import Home

PARTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler", "unet", "vae")
SDXL_SCALING = 0.13025
"""`scaling_factor` in the config of SDXL's own VAE, to whose latents the built-in factors were fitted."""
FACTORS = "latent2rgb.json"
_MAX_HEADER = 100 * 2**20


def checkpoints(home: Home) -> Iterator[Finding]:
    """Each checkpoint: whether it is complete, and whether its previews have the right colours."""
    folder = home.checkpoints
    found = (
        sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    )
    if not found:
        yield note("checkpoints", "none but the built-in demo model", f"put SDXL checkpoints into {folder}")
    for path in found:
        about = f"checkpoint {path.name}"
        if path.suffix == ".safetensors" and path.is_file():
            yield from _single_file(about, path)
        elif not path.is_dir():
            yield note(about, "is neither a folder nor a .safetensors file; it is not used")
        elif missing := _missing(path):
            advice = "download it again: a copy that was cut off looks like this"
            yield bad(about, f"is incomplete: {', '.join(missing[:4])}", advice)
        else:
            yield good(about, "is complete")
            yield _factors(path)


def _missing(path: Path) -> list[str]:
    """What a diffusers folder lacks, in words."""
    try:
        index = _object(path / "model_index.json")
    except (OSError, ValueError):
        return ["no readable model_index.json"]
    if index.get("_class_name") != "StableDiffusionXLPipeline":
        return [f"it is a {index.get('_class_name')}, not a StableDiffusionXLPipeline"]
    return [fault for part in PARTS for fault in _faults_of(path / part)]


def _faults_of(part: Path) -> list[str]:
    if not part.is_dir():
        return [f"no {part.name}/"]
    if part.name.startswith("tokenizer"):
        names = ("tokenizer.json", "vocab.json")
        return [] if any((part / name).is_file() for name in names) else [f"no {part.name}/tokenizer.json"]
    if part.name == "scheduler":
        return [] if (part / "scheduler_config.json").is_file() else [f"no {part.name}/scheduler_config.json"]
    weights = list(part.glob("*.safetensors"))
    if not weights:
        return [f"no weights in {part.name}/"]
    return [
        *(f"{part.name}/{file.name}: {fault}" for file in weights if (fault := cut_short(file))),
        *(f"no {part.name}/{name}" for name in _shards(part) if not (part / name).is_file()),
    ]


def _shards(part: Path) -> set[str]:
    """Files that an index of sharded weights names."""
    names: set[str] = set()
    for index in part.glob("*.safetensors.index*.json"):
        try:
            names.update(map(str, _object(index).get("weight_map", {}).values()))
        except ValueError:
            names.add(f"{index.name} (readable)")
    return names


def cut_short(file: Path) -> str | None:
    """What is wrong with a safetensors file, by its header alone; None for a whole one.

    The format: 8 bytes of length, that much JSON, then the tensors at the offsets that the JSON gives.
    """
    try:
        header = _header(file)
    except (OSError, ValueError):
        return "is no safetensors file"
    ends = [each["data_offsets"][1] for name, each in header.items() if name != "__metadata__"]
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = 8 + int.from_bytes(opened.read(8), "little")
    missing = start + max(ends, default=0) - size
    return f"{missing} bytes are missing at its end" if missing > 0 else None


def _header(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 2 <= length <= _MAX_HEADER:
            raise ValueError
        header: dict[str, Any] = json.loads(opened.read(length))
        return header


def _single_file(about: str, path: Path) -> Iterator[Finding]:
    if (fault := cut_short(path)) is not None:
        yield bad(about, fault, "download it again")
    elif not any(name.startswith("conditioner.embedders.1.") for name in _header(path)):
        yield bad(
            about, "is no SDXL checkpoint: it lacks the second text encoder", "put an SDXL checkpoint there"
        )
    else:
        yield good(about, "is complete")
        # It is read by SDXL's own configuration, its VAE too.
        yield good(f"colours of {path.stem}", "previews use SDXL's latent2rgb factors")


def _factors(path: Path) -> Finding:
    """Whether latents of this checkpoint turn into the right colours without a decoder."""
    about = f"colours of {path.name}"
    own = path / FACTORS
    if own.is_file():
        try:
            factors = _object(own)
            sound = [len(row) for row in factors["factors"]] == [3] * 4 and len(factors["bias"]) == 3
        except (ValueError, KeyError, TypeError):
            sound = False
        if sound:
            return good(about, f"previews use its own {FACTORS}")
        return bad(about, f"its {FACTORS} cannot be used", "it holds factors (4 rows of 3) and bias (3)")
    try:
        scaling = _object(path / "vae" / "config.json").get("scaling_factor")
    except (OSError, ValueError):
        return bad(about, "its vae/config.json cannot be read", "download the checkpoint again")
    if scaling == SDXL_SCALING:
        return good(about, "previews use SDXL's latent2rgb factors")
    advice = f"put a {FACTORS} with factors for it beside model_index.json"
    return note(about, f"its VAE is not SDXL's own (scaling factor {scaling}); previews may look off", advice)


def decoder(home: Home) -> Path | None:
    """The tiny decoder's file, if there is one."""
    folder = home.vae_approx
    names = ("taesdxl_decoder.safetensors", "taesdxl_decoder.pth")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def taesd(home: Home, probed: dict[str, Any] | str) -> Iterator[Finding]:
    """Whether previews can be decoded by TAESD."""
    file = decoder(home)
    if file is None:
        yield note(
            "TAESD",
            "is not there; previews use latent2rgb, small and soft",
            f"for sharp previews on a GPU put taesdxl_decoder.safetensors (or .pth) into {home.vae_approx}",
        )
    elif isinstance(probed, dict):
        fault = probed["taesd"]
        if fault is None:
            yield good("TAESD", f"{file.name} can be loaded")
        else:
            yield bad(
                "TAESD", f"{file.name} cannot be loaded: {fault}", "download it again; until then: latent2rgb"
            )


def _object(file: Path) -> dict[str, Any]:
    """A JSON object. Raises ValueError for anything else."""
    value = json.loads(file.read_bytes())
    if not isinstance(value, dict):
        raise ValueError  # noqa: TRY004  for callers it is one more way of being no such file
    return value
