"""The passes of a frame and the checkpoints that make them, in the child: which is read, when, and for what.

The first pass is the base's. A second one is the same checkpoint's at a larger size (`hires`) or another's on
the last steps (`refiner`). A checkpoint that is not in memory is read, and told while it is.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from daemon.gpu import denoise, hires, loras, refiner, sdxl, snapshots, view, wire
from daemon.gpu.reading import read_through
from daemon.gpu.spare import Spare

Send = Callable[[wire.Reply], None]


class Passes:
    """Those of a batch's frames."""

    def __init__(self, shelf: sdxl.Shelf, spare: Spare, send: Send) -> None:
        """Checkpoints stand on `shelf`; `spare` makes room where memory runs out."""
        self._shelf = shelf
        self._spare = spare
        self._send = send

    def __repr__(self) -> str:
        return f"<Passes with {self._shelf!r}>"

    def first(self, begin: wire.Begin) -> tuple[denoise.Denoise, view.View | None]:
        """The frame before its first step, or where it was stored, and how it is shown.

        Raises `BadModel`, `BadLora` and `BadImage`.
        """
        state, shown = self._begun(begin)
        if begin.resume is not None:
            if snapshots.earlier_steps(begin.resume):
                later = partial(self._later, state, begin, hires.blank, refiner.blank)
                state = self._spare.again(later)
            snapshots.restore(state, begin.resume)
        return state, shown

    def second(self, state: denoise.Denoise, begin: wire.Begin) -> denoise.Denoise:
        """The later pass before its first step, once the first one's steps are made. Raises `BadModel`."""
        drawn = state.generator.get_state()

        def later(tiled: bool) -> denoise.Denoise:
            state.generator.set_state(drawn)  # a try that failed may have drawn of its noise
            return self._later(state, begin, partial(hires.second, tiled=tiled), refiner.second)

        return self._spare.tiled(later)

    def _begun(self, begin: wire.Begin) -> tuple[denoise.Denoise, view.View | None]:
        """Nothing here holds on to the checkpoint, which may have to leave memory for the refiner."""
        base = partial(self._checkpoint, Path(begin.model), begin.model_version, "base")
        checkpoint = self._spare.again(base)
        if begin.refiner is not None:  # whose faults are better found before the first steps are made
            _inspect(Path(begin.refiner.model))
        self._spare.again(partial(loras.apply, checkpoint, begin.loras))
        shown = view.opened(begin, checkpoint, self._shelf.decoders, self._shelf.stream, self._send)
        return self._spare.tiled(partial(denoise.begin, checkpoint, begin)), shown

    def _later(
        self,
        state: denoise.Denoise,
        begin: wire.Begin,
        larger: Callable[[denoise.Denoise, wire.Begin], denoise.Denoise],
        refined: Callable[[denoise.Denoise, wire.Begin, sdxl.Checkpoint], denoise.Denoise],
    ) -> denoise.Denoise:
        if begin.refiner is None:
            return larger(state, begin)
        return refined(state, begin, self._refiner(state, begin.refiner))

    def _refiner(self, state: denoise.Denoise, asked: wire.Refiner) -> sdxl.Checkpoint:
        """The base leaves memory for it if need be: it comes after all others that could."""
        refiner.let_go(state)
        self._spare.keep = Path(asked.model)
        checkpoint = self._checkpoint(self._spare.keep, asked.model_version, "refiner")
        loras.apply(checkpoint, [])  # it may be warm with those of another frame
        return checkpoint

    def _checkpoint(self, path: Path, version: str, role: sdxl.Role) -> sdxl.Checkpoint:
        """Read if it is not in memory."""
        if (held := self._shelf.find(path, version)) is not None:
            if held.refines and role == "base":
                raise sdxl.BadModel(f"The checkpoint {path} is SDXL's refiner, which cannot be used alone.")
            return held
        try:
            return self._read(path, version, role)
        except sdxl.BadModel as error:
            error.model = str(path)
            raise

    def _read(self, path: Path, version: str, role: sdxl.Role) -> sdxl.Checkpoint:
        def tell(done: float) -> None:
            self._send(wire.Loading(what=f"loading {path.name}", done=done))

        tell(0.0)
        started = time.perf_counter()
        with read_through(sdxl.weights(path, self._shelf.dtype), tell):
            checkpoint = self._shelf.load(path, version, role)
        seconds = time.perf_counter() - started
        held = self._shelf.names()
        self._send(wire.Loaded(model=str(path), seconds=seconds, bytes=checkpoint.bytes, held=held))
        return checkpoint


def _inspect(path: Path) -> None:
    try:
        sdxl.inspect(path, "refiner")
    except sdxl.BadModel as error:
        error.model = str(path)
        raise
