"""Where the running daemon of a home is to be reached: it writes `daemon.json`, the commands read it.

A daemon that was killed leaves its file behind; `client` finds out whether anyone still answers there.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from daemon.files import write_whole
from daemon.settings import Home


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """How to talk to one running daemon."""

    url: str
    """`http://127.0.0.1:8642`, without a path."""
    token: str | None
    """Needed on any address but loopback."""
    pid: int
    epoch: str
    """Of its log: tells this home's daemon from another one that has its port by now."""


@contextmanager
def announced(home: Home, address: Address) -> Iterator[None]:
    """Have the address lie in the home while the block runs, readable by its owner only."""
    write_whole(home.address, msgspec.json.encode(address) + b"\n", durable=False, mode=0o600)
    try:
        yield
    finally:
        home.address.unlink(missing_ok=True)


def read(home: Home) -> Address | None:
    """What the last daemon wrote; None if it took it away again, or the file makes no sense."""
    try:
        return msgspec.json.decode(home.address.read_bytes(), type=Address)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
