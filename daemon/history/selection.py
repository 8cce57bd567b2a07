"""Which events of the log are wanted, as a condition in SQL.  PURE"""

from collections.abc import Sequence
from datetime import datetime
from difflib import get_close_matches

import msgspec

from daemon.events.types import BY_NAME
from daemon.history.views import name_of
from daemon.moments import Moment


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is not said is not asked for."""

    types: Sequence[str] = ()
    job: int | None = None
    frame: int | None = None
    since: Moment | None = None
    """From this event or time on, itself included."""
    until: Moment | None = None
    """Up to this event or time, itself included."""

    def condition(self) -> str:
        """For a WHERE over `events`. Names of types are checked, so nothing here is a person's text."""
        parts = [
            _one_of(self.types),
            "" if self.job is None else f"job = {self.job}",
            "" if self.frame is None else f"frame = {self.frame}",
            _bound(">=", self.since),
            _bound("<=", self.until),
        ]
        return " AND ".join(part for part in parts if part) or "true"

    def takes(self, kind: str, data: dict[str, object]) -> bool:
        """The same for an event that has just happened, as the API tells it; `since` has passed."""
        ids = ((self.job, "job"), (self.frame, "frame"))
        return (not self.types or kind in self.types) and all(
            wanted is None or data.get(name) == wanted for wanted, name in ids
        )


def known_type(text: str) -> str:
    """The type that is meant: `PreviewWritten` or `preview_written`. Raises ValueError with a suggestion."""
    names = {spelled: name for name, kind in BY_NAME.items() for spelled in (name.lower(), name_of(kind))}
    if (found := names.get(text.lower())) is not None:
        return found
    close = get_close_matches(text.lower(), names, 1)
    hint = f"did you mean {names[close[0]]}?" if close else f"there are {', '.join(BY_NAME)}"
    raise ValueError(f"there is no event {text}; {hint}")


def _one_of(types: Sequence[str]) -> str:
    listed = ", ".join(f"'{name}'" for name in types)
    return f"type IN ({listed})" if types else ""


def _bound(operator: str, moment: Moment | None) -> str:
    match moment:
        case None:
            return ""
        case datetime():
            return f"ts {operator} TIMESTAMPTZ '{moment.isoformat()}'"
        case int():
            return f"seq {operator} {moment}"
