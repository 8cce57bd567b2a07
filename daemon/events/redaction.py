"""Words taken out of an event, so that the hash chain still holds.  PURE

A row's hash covers the SHA-256 of its data. Redacted data begin with that digest, as `_redacted`, and have
`[redacted]` where a person's words were. The marker alone would let anyone write anything into the row: an
`EventRedacted` further on, itself in the chain, says what the digest was and what was left (`audit` holds
each row to it).
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from daemon.events.types import (
    CancelRequested,
    Event,
    EventRedacted,
    FinalWritten,
    FrameFailed,
    FrameInterrupted,
    JobAccepted,
    JobDuplicate,
    JobRejected,
    JobReprioritised,
    QueuePaused,
    QueueResumed,
)

WORD = "[redacted]"
"""What stands where words were."""
MARKER = "_redacted"

_PROMPT = ("prompt", "negative_prompt", "image")
_SOURCE = ("source.name", "source.not_carried")
PERSONAL: dict[type[Event], tuple[str, ...]] = {
    JobAccepted: (*(f"prompt.{name}" for name in _PROMPT), *_SOURCE),
    JobRejected: ("faults", *_SOURCE),
    JobDuplicate: _SOURCE,
    FinalWritten: tuple(f"recipe.prompt.{name}" for name in _PROMPT),
    FrameFailed: ("message",),
    FrameInterrupted: ("message",),
    CancelRequested: ("by",),
    QueuePaused: ("by",),
    QueueResumed: ("by",),
    JobReprioritised: ("by",),
    EventRedacted: ("by", "reason"),
}
"""Where people's words stand: what they wrote and named, who they are, and messages that may quote that."""

_HEAD = b'{"_redacted":"'
_DIGEST = re.compile(rb"[0-9a-f]{64}")
_encoder = msgspec.json.Encoder()


def marked(data: bytes) -> bool:
    """Whether words were taken out. No event's own data begins so."""
    return data.startswith(_HEAD)


def own_digest(data: bytes) -> str:
    """SHA-256 of these very bytes, in hexadecimal: `EventRedacted.left_sha256`."""
    return hashlib.sha256(data).hexdigest()


def digest(data: bytes) -> bytes:
    """SHA-256 of the data as they were recorded; of redacted ones, as they say."""
    if not marked(data):
        return hashlib.sha256(data).digest()
    found = _DIGEST.match(data, len(_HEAD))
    return b"" if found is None else bytes.fromhex(found[0].decode())  # without one, the chain will show it


def redacted(data: bytes, fields: Iterable[str]) -> bytes:
    """The data without the words in these fields; what is already without them comes back as it is.

    A field is a path of keys; a path that leads nowhere is no fault. Texts within it become `WORD`, but for
    empty ones; numbers and keys stay.
    """
    content: dict[str, Any] = msgspec.json.decode(data)
    before = msgspec.json.decode(data)
    for field in fields:
        _take_out(content, field.split("."))
    if content == before:
        return data
    content.pop(MARKER, None)
    return _encoder.encode({MARKER: digest(data).hex(), **content})


def _take_out(content: dict[str, Any], path: list[str]) -> None:
    *way, last = path
    for key in way:
        inner = content.get(key)
        if not isinstance(inner, dict):
            return
        content = inner
    if last in content:
        content[last] = _without_words(content[last])


def _without_words(value: Any) -> Any:
    match value:
        case str():
            return WORD if value else value
        case list():
            return [_without_words(one) for one in value]
        case dict():
            return {key: _without_words(one) for key, one in value.items()}
        case _:
            return value
