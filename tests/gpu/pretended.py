"""A GPU that is not there: tensors that say they are on one, and a record of where the host would wait.

Their numbers are a CPU tensor's, so samplers and models run as they are and come to a result. It is stricter
than torch's fake tensors, which hold no numbers: an operation on tensors of two devices is an error, as CUDA
has it, but for numbers (tensors without dimensions) that go along with the work. What waits is what CUDA's
documentation names: reading a number, and copies that are blocking or meet memory which is not pinned.
"""

import traceback
from collections.abc import Callable
from typing import Any, Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

GPU = torch.device("cuda:0")
_THERE = ("cuda", "meta")
"""Torch's own code takes these tensors for `meta` ones, for it lacks what it asks of a real device."""
_READS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "_linalg_check_errors")
_OF_ONE_DEVICE = ("cat", "stack", "bmm", "mm", "addmm", "convolution", "embedding")
"""These bear not even a number from elsewhere."""


class OnGpu(torch.Tensor):
    """A tensor of the pretended GPU, which `held` stands for."""

    held: torch.Tensor
    is_cuda = True

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "OnGpu":
        """Inference or not makes no difference to it."""
        with torch.inference_mode(False):
            made: OnGpu = torch.Tensor._make_wrapper_subclass(
                cls, held.size(), strides=held.stride(), dtype=held.dtype, device=torch.device("meta")
            )
        made.held = held
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]  # torch calls it an attribute
        """As it is to be seen."""
        return GPU

    def record_stream(self, stream: Any) -> None:
        """Its memory waits for a `Stream`, too."""
        stream.used.append(self)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__getitem__:
            return _indexed(*args)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # as torch's own subclasses have it
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise AssertionError(f"{func} outside of a pretended GPU")


class Pretended(TorchDispatchMode):  # type: ignore[no-untyped-call]  # as it is, like its methods
    """While it lasts there is the GPU, and `waits` says where the host has waited for it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._mode_key = (
            torch._C._TorchDispatchModeKey.FAKE
        )  # for which torch does not look for a real device
        self.waits: list[str] = []
        self._pinned: list[torch.Tensor] = []
        self._depth = 0

    @classmethod
    def is_infra_mode(cls) -> bool:
        """As torch's fake tensors say it of theirs."""
        return True

    def __enter__(self) -> Self:
        self._depth += 1
        torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor(…, device=GPU)` then shows its copy
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        self._depth -= 1
        torch._C._set_only_lift_cpu_tensors(self._depth > 0)
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def wait(self, why: str) -> None:
        """Note one, with the line of our code or a library's that is the reason."""
        lines = [
            f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
            for frame in traceback.extract_stack()
            if "/torch/" not in frame.filename and frame.filename != __file__
        ]
        self.waits.append(f"{why} at {lines[-1]}")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given, name = dict(kwargs or {}), func.overloadpacket.__name__
        if name in ("pin_memory", "_pin_memory", "is_pinned"):
            return self._is_pinned(args[0]) if name == "is_pinned" else self._pin(args[0])
        if func._can_decompose():
            with self:
                return func.decompose(*args, **given)
        there, here = _sorted(args, given)
        target = given.get("device")
        leads_there = bool(there) if target is None else torch.device(target).type in _THERE
        if name == "_fused_sdp_choice":
            return 0  # the one that is made of plain operations
        if name == "copy_" and there and here:
            self._check_copy(name, bool(there), here[0], len(args) > 2 and args[2])
        elif name == "_to_copy" and (there or leads_there) and leads_there != bool(there):
            self._check_copy(name, bool(there), here[0] if here else None, given.get("non_blocking", False))
        elif there and name in _READS:
            self.wait(name)
        elif there and here and (name in _OF_ONE_DEVICE or any(each.dim() for each in here)):
            raise RuntimeError(f"{func}: tensors on two devices")
        return self._done(func, args, given, leads_there and name != "_local_scalar_dense")

    def _done(self, func: Any, args: Any, given: dict[str, Any], leads_there: bool) -> Any:
        known = {id(each.held): each for each in _sorted(args, given)[0]}
        if "device" in given:
            given = {**given, "device": "cpu"}
        pinned = given.get("pin_memory")
        given = {key: value for key, value in given.items() if key not in ("pin_memory", "non_blocking")}
        args, given = tree_map(_held, (args, given))
        answer = func(*args, **given)
        if pinned:
            self._pinned.append(answer)
        return tree_map(lambda each: _on_gpu(each, known), answer) if leads_there else answer

    def _check_copy(self, name: str, back: bool, host: torch.Tensor | None, non_blocking: bool) -> None:
        """A copy to new memory of the host, non-blocking, is pinned by torch itself."""
        if not (non_blocking and (self._is_pinned(host) if host is not None else back)):
            self.wait(name)

    def _pin(self, tensor: torch.Tensor) -> torch.Tensor:
        self._pinned.append(tensor.clone())
        return self._pinned[-1]

    def _is_pinned(self, tensor: torch.Tensor) -> bool:
        return any(tensor.data_ptr() == each.data_ptr() for each in self._pinned)


def _sorted(args: Any, given: Any) -> tuple[list[OnGpu], list[torch.Tensor]]:
    there: list[OnGpu] = []
    here: list[torch.Tensor] = []

    def look(each: Any) -> None:
        if isinstance(each, torch.Tensor):
            there.append(each) if isinstance(each, OnGpu) else here.append(each)

    tree_map(look, (args, given))
    return there, here


def _held(each: Any) -> Any:
    return each.held if isinstance(each, OnGpu) else each


def _on_gpu(each: Any, known: dict[int, OnGpu]) -> Any:
    """What was changed in place is still the same tensor."""
    if not isinstance(each, torch.Tensor):
        return each
    return known[id(each)] if id(each) in known else OnGpu(each)


def _indexed(tensor: torch.Tensor, index: Any) -> torch.Tensor:
    places = index if isinstance(index, tuple) else (index,)
    if any(map(_waits, places)):
        torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE).wait("index")
    found = _held(tensor)[tuple(map(_held, places))]
    return OnGpu(found) if isinstance(tensor, OnGpu) else found


def _waits(place: Any) -> bool:
    """Whether the host must first know, or first send, what this index is."""
    if isinstance(place, OnGpu):
        return place.dim() == 0 or place.dtype == torch.bool
    return isinstance(place, torch.Tensor) and place.dim() > 0


class Stream:
    """A stream of it: says what was told to it, in turn."""

    def __init__(self, name: str, told: list[str]) -> None:
        self._name = name
        self._told = told
        self.used: list[torch.Tensor] = []
        """Tensors whose memory is to wait for it."""

    def __enter__(self) -> None:
        self._told.append(f"work on {self._name}")

    def __exit__(self, *error: object) -> None:
        self._told.append("work on the sampler's")

    def wait_stream(self, other: "Stream") -> None:
        """Go on once the other has done what it was told so far."""
        self._told.append(f"{self._name} waits for {other._name}")


class Event:
    """What the host can wait for."""

    def __init__(self, told: list[str], blocking: bool) -> None:
        self._told = told
        self._how = "sleeps" if blocking else "spins"

    def record(self, stream: Stream) -> None:
        """It comes when the stream has got here."""
        self._told.append(f"event on {stream._name}")

    def synchronize(self) -> None:
        """Wait for it."""
        self._told.append(f"host {self._how}")


def moved(module: torch.nn.Module) -> torch.nn.Module:
    """The module with its weights on the pretended GPU."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = torch.nn.Parameter(OnGpu(parameter.detach()), requires_grad=False)
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else OnGpu(buffer)
    return module


Drawn = Callable[[Any, torch.dtype, torch.device, int], torch.Tensor]


def drawn_there(original: Drawn) -> Drawn:
    """torchsde's noise, which it draws on the GPU itself."""

    def drawn(size: Any, dtype: torch.dtype, device: torch.device, seed: int) -> torch.Tensor:
        made = original(size, dtype, torch.device("cpu"), seed)
        return OnGpu(made) if device.type in _THERE else made

    return drawn
