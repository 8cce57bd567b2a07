"""The layouts that stored events have had, and the way from each to the next.  PURE

Rows are never rewritten for this: each keeps the version that it was written with, and is led up to
today's layout when it is read. A new field with a default needs nothing here. Anything else raises the
type's version by one and brings an upcaster, which takes the JSON object of the version before and answers
the next one's.
"""

from collections.abc import Callable
from typing import Any

Data = dict[str, Any]


def _split_address(data: Data) -> Data:
    """DaemonStarted 1 had the address as one text: `127.0.0.1:8642`, `::1:8642`."""
    host, _, port = str(data["host"]).rpartition(":")
    return {**data, "host": host, "port": int(port)}


UPCASTERS: dict[str, list[Callable[[Data], Data]]] = {"DaemonStarted": [_split_address]}
"""By event type: from version 1 to 2, from 2 to 3 …"""


def current(type_name: str) -> int:
    """The version that events of this type are written with."""
    return 1 + len(UPCASTERS.get(type_name, []))


def upcast(type_name: str, version: int, data: Data) -> Data:
    """The data of a row of `version` as today's layout has it."""
    for step in UPCASTERS.get(type_name, [])[version - 1 :]:
        data = step(data)
    return data
