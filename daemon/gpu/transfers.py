"""What a sampler has on the CPU reaches a GPU without anyone waiting for it.

diffusers' samplers draw their noise on the CPU, so that a seed is one picture everywhere, and send it with
`.to(device)`. From ordinary memory that is a copy which the host waits for, and with it for the whole step
before it: the GPU then stands idle until the next step's work arrives. Pinned memory is copied while the
host goes on. UniPC also sends each of its coefficients and solves a system of two equations there, five waits
a step or more: numbers stay on the CPU, from where they go along with the work that they are used in.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


def unwaited(device: torch.device) -> AbstractContextManager[object]:
    """Within it nothing that is sent to `device` is waited for; it changes nothing on a CPU."""
    return nullcontext() if device.type == "cpu" else _Unwaited(device)


class _Unwaited(TorchFunctionMode):
    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func is torch.Tensor.to and args[1:] == (self._device,) and args[0].device.type == "cpu":
            return args[0] if args[0].dim() == 0 else args[0].pin_memory().to(self._device, non_blocking=True)
        if func is torch.ones and args == ((),) and given == {"device": self._device}:
            return torch.ones(())  # which UniPC puts beside numbers that have stayed
        return func(*args, **given)
