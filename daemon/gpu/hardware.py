"""The device that the child works on: found by its name, described, and how much it does at once."""

import diffusers
import torch
import transformers

from daemon.gpu import memory

AT_ONCE = 4
ALONE, MORE = 11 * 2**30, 2**29
"""Bytes for SDXL in half precision with one guided picture of a megapixel at work, and for each one more.

Reckoned from the shapes of its parts (`tests/gpu/test_memory.py`): 6.5 GiB of weights, 3 for the VAE at
work in 32 bits, 0.3 a picture for a call of the UNet; the rest is left to libraries. Where it does not
suffice, fewer are made at once.
"""


def find(name: str) -> torch.device:
    """`auto` is the first GPU, else the CPU. Raises `RuntimeError` or `AssertionError` for one that
    is not there, or of a kind that nobody here has worked with."""
    if name == "auto":
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type not in ("cpu", "cuda"):
        raise RuntimeError("Safelight works on cpu and cuda devices alone")
    return torch.empty(1, device=device).device  # `cuda` is one of them, with its number


def sampling_stream(device: torch.device) -> torch.cuda.Stream | None:
    """Goes before the stream of previews wherever both have work; None on a CPU."""
    if device.type != "cuda":
        return None
    return torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]  # as it is


def describe(device: torch.device) -> str:
    """As people know it: `cpu`, or `cuda:0 NVIDIA H100`."""
    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)


def versions() -> dict[str, str]:
    """What the pixels depend on beside the recipe."""
    return {
        "torch": str(torch.__version__),
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }


def at_once(device: torch.device, dtype: torch.dtype) -> int:
    """Pictures to be made at the same time if nobody says how many. One on a CPU: the first is there sooner,
    and a seed is the same picture bit for bit.
    """
    if device.type == "cpu":
        return 1
    wider = max(1, dtype.itemsize // 2)  # than half precision
    return min(AT_ONCE, 1 + max(0, memory.free(device) // wider - ALONE) // MORE)
