"""What devices are busy with before they can sample: starting torch, reading a checkpoint, and how far.

Told while it lasts and then forgotten: nobody will ask the log how far a file was read at half past three.
"""

from collections.abc import Callable

import msgspec


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A device is busy with this now."""

    device: str
    what: str
    done: float | None
    """Of it, from 0 to 1; None where that is not known."""


class Stages:
    """One per device at most."""

    def __init__(self) -> None:
        self._now: dict[str, Stage] = {}
        self._hearers: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<Stages {', '.join(f'{stage.device}: {stage.what}' for stage in self.now) or 'none'}>"

    @property
    def now(self) -> list[Stage]:
        """By device, in the order in which they began."""
        return list(self._now.values())

    def listen(self, hearer: Callable[[], None]) -> None:
        """Have it called after each change."""
        self._hearers.append(hearer)

    def show(self, device: str, what: str, done: float | None = None) -> bool:
        """The device is at this; True if it was at something else before."""
        before = self._now.get(device)
        stage = Stage(device=device, what=what, done=done)
        if stage != before:
            self._now[device] = stage
            self._tell()
        return before is None or before.what != what

    def end(self, device: str) -> None:
        """The device can sample, or is gone."""
        if self._now.pop(device, None) is not None:
            self._tell()

    def _tell(self) -> None:
        for hearer in self._hearers:
            hearer()
