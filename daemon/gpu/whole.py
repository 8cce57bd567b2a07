"""Whether a checkpoint that was read is whole, and of SDXL's kind, where the libraries do not say so.

diffusers leaves weights empty that no file holds, transformers fills text encoders up with random ones, and
a scheduler's config of other noise than SDXL's would be sampled as if it were SDXL's.
"""

from pathlib import Path
from typing import Any

from safetensors import safe_open

PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
"""Those of a pipeline that have weights."""
_PREDICTED = ("epsilon", "v_prediction", "sample")
_OLD = "text_model."
"""What transformers 5 leaves out of the names within CLIP's text encoder, and files have."""


def check(pipe: Any, path: Path) -> None:
    """Raise ValueError, with a sentence that begins with "it", for a pipeline read from `path` (a folder in
    diffusers' layout, or a file) that is to be refused.
    """
    for name in PARTS:
        part = getattr(pipe, name)
        if part is not None:
            _check_part(part, name, path / name)
    _check_noise(pipe.scheduler.config)


def _check_part(part: Any, name: str, folder: Path) -> None:
    given = _keys(folder) if folder.is_dir() and name.startswith("text") else None
    for key, tensor in part.named_parameters():
        if tensor.is_meta or (given is not None and key.removeprefix(_OLD) not in given):
            raise ValueError(f"its {name} lacks {key.removeprefix(_OLD)}")


def _keys(folder: Path) -> set[str]:
    """Of all the weights of a text encoder."""
    names: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            names.update(key.removeprefix(_OLD) for key in file.keys())  # noqa: SIM118  no dict
    return names


def _check_noise(config: Any) -> None:
    """Samplers are made from what this says of the noise that the model was trained on."""
    kind = config.get("prediction_type", "epsilon")
    if "beta_start" not in config or config.get("use_flow_sigmas") or kind == "flow_prediction":
        whose = config.get("_class_name", "EDM or flow matching")
        raise ValueError(f"it was trained on other noise than SDXL's ({whose})")
    if kind not in _PREDICTED:
        raise ValueError(f"it predicts {kind}, of which no sampler knows")
