"""How far long work has got, on a terminal only: on standard error, so that it is in nobody's way."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def told(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The same items, with a bar that counts them while they go by."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, what, total, console=Console(stderr=True), transient=True)
