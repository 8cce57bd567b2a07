"""A frame's state between two steps as bytes, and back: what a dead child's successor goes on from.

Only what steps change is kept: the latent, the scheduler's memory of earlier steps, and the generator's
place in its noise. The rest (prompt, sigmas, timesteps) follows from the request, so `restore` works on a
state that was begun anew from the same request. On the same device and versions every later step is then
bit for bit what it would have been.
"""

import io
from typing import Any

import torch

from daemon.gpu.denoise import Denoise

_PLAIN = (torch.Tensor, bool, int, float, str, type(None))


def take(state: Denoise) -> bytes:
    """The state after its last step. On a GPU this waits for that step to end."""
    out = io.BytesIO()
    memory = {name: value for name, value in vars(state.scheduler).items() if _plain(value)}
    torch.save(
        {
            "step": state.step,
            "before": state.before,
            "batch": state.batch,
            "latent": state.latent,
            "denoised": state.denoised,
            "image_sha256": state.image_sha256,
            "generator": state.generator.get_state(),
            "scheduler": memory,
        },
        out,
    )
    return out.getvalue()


def earlier_steps(data: bytes) -> int:
    """Steps of an earlier pass that a state has behind it; 0 in the first."""
    before: int = torch.load(io.BytesIO(data), "cpu", weights_only=True)["before"]
    return before


def restore(state: Denoise, data: bytes) -> None:
    """Put a state that `denoise.begin`, or `hires.blank` of it, has just made where `take` left it."""
    kept: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True)
    assert kept["before"] == state.before, "a state of another pass"
    state.step = kept["step"]
    state.batch = kept.get("batch", 1)  # before there were batches
    state.latent = kept["latent"]
    state.denoised = kept["denoised"]
    state.image_sha256 = kept["image_sha256"]  # the file may have become another one meanwhile
    state.generator.set_state(kept["generator"])
    vars(state.scheduler).update(kept["scheduler"])


def _plain(value: Any) -> bool:
    """Tensors, numbers and lists of them. What else a scheduler holds (config, hooks, the Brownian tree of
    `dpmpp_sde`) it had from the beginning, or makes again from its seed.
    """
    if isinstance(value, list):
        return all(_plain(each) for each in value)
    return isinstance(value, _PLAIN)
