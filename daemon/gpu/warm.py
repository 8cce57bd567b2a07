"""What a device's child holds in memory, as far as it has said: for `plan`, which likes it used."""

from collections.abc import Iterable

from daemon.settings import Home


class Memory:
    """Of one child; its successor begins with nothing."""

    def __init__(self, home: Home) -> None:
        """Nothing is held yet."""
        self._home = home
        self.warm: dict[str, frozenset[str]] = {}
        """As `plan.Warm`."""

    def __repr__(self) -> str:
        return f"<Memory of {', '.join(self.warm) or 'nothing'}>"

    def used(self, model: str, loras: Iterable[str]) -> None:
        """Frames of this checkpoint with these LoRAs are being made."""
        self.warm[model] = frozenset(loras)

    def failed(self, model: str) -> None:
        """The checkpoint could not be read."""
        self.warm.pop(model, None)

    def holds(self, paths: Iterable[str]) -> None:
        """After a checkpoint was read, these are left."""
        left = set(paths)
        self.warm = {name: it for name, it in self.warm.items() if str(self._home.checkpoint(name)) in left}
