"""What an audit brings to light, and how it tells how far it has got."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

Told = Callable[[Iterable[Any], int, str], Iterable[Any]]
"""Shows how far something has got: the items, how many they are, what is done with them."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it should be."""

    place: str
    """A file of the home, an event, or a row of a table."""
    what: str


class Audit:
    """What was found, how much was looked at, and what was not."""

    def __init__(self, told: Told) -> None:
        """Nothing yet."""
        self.findings: list[Finding] = []
        self.checked: dict[str, int] = {}
        self.unchecked: list[str] = []
        self.told = told

    def __repr__(self) -> str:
        return f"<Audit: {len(self.findings)} findings, checked {self.checked}>"

    def find(self, place: str, what: str) -> None:
        """Something is wrong."""
        self.findings.append(Finding(place, what))

    def count(self, what: str, number: int) -> None:
        """So many were looked at."""
        self.checked[what] = self.checked.get(what, 0) + number


def first_line(error: Exception) -> str:
    """A foreign error in one line."""
    return str(error).partition("\n")[0]
