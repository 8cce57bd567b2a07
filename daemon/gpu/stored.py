"""The stored states of frames being made, each in a hidden file beside its frame's picture.

A state is replaced whole every few seconds and is gone when its frame has ended. It is of use only to the
same request on the same device with the same versions and files, which `key` stands for, and only if every
byte of it is there: previews' and states' files are not fsynced, and a power cut may leave anything in them.
"""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import msgspec

from daemon.files import TEMPORARY, write_whole

logger = logging.getLogger(__name__)

_NAME = ".frame_{}.state"


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A frame's state after `step`, as the child gave it."""

    step: int
    key: str
    sha256: str
    """Of `data`."""
    data: bytes


@dataclass(frozen=True)
class Keeping:
    """How one attempt at a frame deals with states."""

    every: float
    """Seconds of work between two."""
    key: str
    resume: Stored | None
    """What it goes on from."""


def key(*parts: object) -> str:
    """Names everything that a state depends on."""
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def save(folder: Path, frame: int, step: int, name: str, data: bytes) -> None:
    """Have this be the frame's state. One that cannot be written is said and no more: the last one stays."""
    digest = hashlib.sha256(data).hexdigest()
    packed = msgspec.msgpack.encode(Stored(step=step, key=name, sha256=digest, data=data))
    try:
        write_whole(folder / _NAME.format(frame), packed, durable=False)
    except OSError as error:
        logger.warning("frame %d: its state could not be stored: %s", frame, error)


def load(folder: Path, frame: int, name: str) -> Stored | None:
    """The frame's state, if there is one and it is whole and of use."""
    try:
        stored = msgspec.msgpack.decode((folder / _NAME.format(frame)).read_bytes(), type=Stored)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        logger.warning("frame %d: its state cannot be read, it begins anew: %s", frame, error)
        return None
    whole = hashlib.sha256(stored.data).hexdigest() == stored.sha256
    if stored.key != name or not whole:
        why = "is of another request, device, version or file" if whole else "is damaged"
        logger.warning("frame %d: its state %s, it begins anew", frame, why)
        return None
    return stored


def discard(folder: Path, frame: int) -> None:
    """The frame needs no state any more."""
    (folder / _NAME.format(frame)).unlink(missing_ok=True)


def sweep(folder: Path, waiting: set[int]) -> None:
    """Remove the states of frames that do not wait for them, and what an interrupted `save` left."""
    kept = {_NAME.format(frame) for frame in waiting}
    for file in folder.glob(_NAME.format("*")):
        if file.name not in kept:
            file.unlink(missing_ok=True)
    for temporary in folder.glob(TEMPORARY.format(_NAME.format("*"))):
        temporary.unlink(missing_ok=True)
