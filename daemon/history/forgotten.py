"""Have just those words gone that events say are forgotten, and is nothing else in their place?"""

from daemon.events import redaction
from daemon.events.codec import Row
from daemon.events.types import Event, EventRedacted
from daemon.history.findings import Audit


class Forgotten:
    """The rows that lost words, and the newest event that says so of each."""

    def __init__(self) -> None:
        """None yet."""
        self._rows: dict[int, tuple[str, str]] = {}
        """Digests by number: of what was recorded, and of what is there."""
        self._told: dict[int, tuple[int, EventRedacted]] = {}

    def learn(self, row: Row, event: Event) -> None:
        """Take one more row in."""
        if redaction.marked(row.data):
            self._rows[row.seq] = redaction.digest(row.data).hex(), redaction.own_digest(row.data)
        if isinstance(event, EventRedacted):
            self._told[event.event] = row.seq, event

    def check(self, audit: Audit) -> None:
        """Say where the two do not fit."""
        for seq, digests in self._rows.items():
            teller, event = self._told.get(seq, (0, None))
            if event is None:
                audit.find(f"event {seq}", "words were taken out of it, and no event says so")
            elif digests != (event.sha256, event.left_sha256):
                audit.find(f"event {seq}", f"it is not what event {teller} left of it")
        for seq, (teller, event) in self._told.items():
            if event.fields and seq not in self._rows:
                audit.find(f"event {seq}", f"event {teller} says that its words are gone, but they are there")
