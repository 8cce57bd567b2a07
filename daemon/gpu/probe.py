"""What torch sees on this machine, for `safelight doctor`: `python -m daemon.gpu.probe [TAESD FILE]`.

Runs in a process of its own, because it imports torch. Prints one line of JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

TAESD_TENSORS = 67
"""Of SDXL's tiny decoder, weights and biases, in the original file."""


def main() -> None:
    """Print the devices, and whether the tiny decoder can be read."""
    taesd = read_taesd(Path(sys.argv[1])) if len(sys.argv) > 1 else None
    print(
        json.dumps(
            {"torch": str(torch.__version__), "cuda": torch.version.cuda, "gpus": gpus(), "taesd": taesd}
        )
    )


def gpus() -> list[dict[str, Any]]:
    """Each GPU that can be used: its name, and its memory in bytes."""
    found = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        found.append({"name": torch.cuda.get_device_name(index), "free": free, "total": total})
    return found


def read_taesd(path: Path) -> str | None:
    """What is wrong with a tiny decoder's file; None for a sound one."""
    try:
        tensors = _tensors(path)
    except Exception as error:  # noqa: BLE001  a damaged file comes up as nearly anything
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if len(tensors) != TAESD_TENSORS or "1.weight" not in tensors:
        return f"it holds {len(tensors)} tensors, not SDXL's tiny decoder ({TAESD_TENSORS} tensors)"
    return None


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".pth":
        loaded: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return loaded
    from safetensors.torch import load_file

    return load_file(path)


if __name__ == "__main__":
    main()
