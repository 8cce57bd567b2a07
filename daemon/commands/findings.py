"""What `doctor` says of each thing it looks at."""

from typing import Literal

import msgspec

State = Literal["good", "note", "bad"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    about: str
    state: State
    """`note`: works, and could be better. `bad`: does not work as it is."""
    says: str
    advice: str | None = None
    """What to do about it."""


def good(about: str, says: str) -> Finding:
    """Nothing to do."""
    return Finding(about=about, state="good", says=says)


def note(about: str, says: str, advice: str | None = None) -> Finding:
    """Works, and worth knowing."""
    return Finding(about=about, state="note", says=says, advice=advice)


def bad(about: str, says: str, advice: str) -> Finding:
    """Does not work."""
    return Finding(about=about, state="bad", says=says, advice=advice)
