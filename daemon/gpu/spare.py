"""What to do when memory runs out in the middle of a frame, in the child.

First the checkpoints that nobody uses leave, then fewer pictures share a call of the UNet, at last one
alone, and as many from then on as long as the checkpoint is in memory; a picture is decoded in tiles. Only
what changes nothing when it fails is tried again: a call of the UNet, not the sampler's step behind it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from daemon.gpu import denoise, memory, sdxl, wire

Result = TypeVar("Result")


class Spare:
    """Memory that a batch in need of it can get."""

    def __init__(self, shelf: sdxl.Shelf, keep: Path) -> None:
        self._shelf = shelf
        self.keep = keep
        """The checkpoint at work."""

    def __repr__(self) -> str:
        return f"<Spare memory of {self._shelf!r}>"

    def most(self, state: denoise.Denoise) -> int | None:
        """Pictures like this one for which a call of the UNet has memory; None where it has not run out."""
        return state.checkpoint.at_once.get(denoise.alike(state))

    def free(self, error: Exception) -> None:
        """Free it for one more try. Raises `error` if it is of another kind."""
        if not memory.ran_out(error):
            raise error
        error.__traceback__ = None  # it holds what the failed try had in hand
        self._shelf.keep_only(self.keep)

    def again(self, call: Callable[[], Result]) -> Result:
        """What `call` answers, tried once more if memory runs out."""
        return self.tiled(lambda _: call())

    def predict(self, calls: Sequence[denoise.Call]) -> list[torch.Tensor]:
        """As `denoise.predict`; of fewer pictures at once, from now on, where memory runs out twice."""
        try:
            return self.again(lambda: denoise.predict(calls))
        except (MemoryError, RuntimeError) as error:
            if len(calls) == 1 or not memory.ran_out(error):
                raise
            error.__traceback__ = None
        half = len(calls) // 2
        first = calls[0].state
        first.checkpoint.at_once[denoise.alike(first)] = half
        memory.release(self._shelf.device)
        return [*self.predict(calls[:half]), *self.predict(calls[half:])]

    def tiled(self, call: Callable[[bool], Result]) -> Result:
        """What `call(False)` answers; `call(True)`, in tiles, if memory runs out."""
        try:
            return call(False)
        except (MemoryError, RuntimeError) as error:
            self.free(error)
        return call(True)


def too_large(begin: wire.Begin, shelf: sdxl.Shelf) -> str:
    """What a person reads of a picture for which there was no memory at all."""
    free = memory.free(shelf.device) / 2**30
    return (
        f"out of memory making {begin.width} × {begin.height} pixels, also when tried again by itself and in "
        f"tiles: {free:.1f} GiB are free on {shelf.device}. Ask for a smaller picture."
    )
