"""Words forgotten in a whole home: what is to go (`planned`), and its going (`finish`).

What goes is first recorded, as one EventRedacted per event; a file beside the history says that it is not
done yet, and which other files have the words too. Whoever opens the history next, after whatever crash,
finishes that before anything else.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from daemon import png
from daemon.events import codec, database, opening, redaction, rewriting
from daemon.events.codec import Row
from daemon.events.opening import HistoryDamaged
from daemon.events.types import BY_NAME, EventRedacted, FinalWritten
from daemon.files import sync_folder, write_whole
from daemon.history import copies
from daemon.settings import Home


class Pending(msgspec.Struct, frozen=True):
    """What else is to be done once the events are recorded; paths are relative to the home."""

    deleted: list[str] = []
    """Prompt files that were filed away, and what was said of them."""
    stripped: list[str] = []
    """Pictures that carry the words as texts."""


class Plan(msgspec.Struct, frozen=True):
    """What a redaction comes to."""

    events: list[EventRedacted]
    types: list[str]
    """Of the events that they are about."""
    files: Pending


def planned(
    connection: duckdb.DuckDBPyConnection, condition: str, home: Home, *, by: str, reason: str
) -> Plan:
    """What is personal in the events that fulfil a condition in SQL, and where else it stands."""
    events, types, sources, stripped = [], [], [], []
    for row in database.stream(connection, condition):
        event, content = _redacted(row, home, by, reason), json.loads(row.data)
        if event is None:
            continue
        events.append(event)
        types.append(row.type)
        sources.append(content.get("source"))
        stripped += [content["path"]] if event.picture_sha256 is not None else []
    deleted = list(_filed(home, [source for source in sources if source is not None]))
    return Plan(events, types, Pending(deleted, stripped))


def begin(home: Home, files: Pending) -> None:
    """Say durably that a redaction is under way, before it is recorded. Raises OSError."""
    write_whole(_marker(home), msgspec.json.encode(files), durable=True)


def unfinished(home: Home) -> bool:
    """Whether one was begun and is not done."""
    return _marker(home).exists()


def finish(home: Home) -> list[int]:
    """Do what is left of a redaction that was begun; answers the events that lost their words.

    Raises `HomeInUse`, `HistoryDamaged`, OSError and `duckdb.Error`; it can be done again then.
    """
    if not unfinished(home):
        return []
    with opening.claimed(home.history):
        files = _read(_marker(home))
        changed = rewriting.rewrite(home.history)
        copies.drop(home.segments)
        for path in files.stripped:
            _strip(home.root / path)
        for path in files.deleted:
            (home.root / path).unlink(missing_ok=True)
        for folder in (home.done, home.rejected):
            if folder.exists():
                sync_folder(folder)
        _marker(home).unlink()
        sync_folder(home.root)
    return changed


def _marker(home: Home) -> Path:
    return home.history.with_suffix(".redacting")


def _read(path: Path) -> Pending:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Pending)
    except msgspec.DecodeError as error:
        raise HistoryDamaged(f"{path} makes no sense; delete it and redact again: {error}") from error


def _redacted(row: Row, home: Home, by: str, reason: str) -> EventRedacted | None:
    """The event that takes the words out of this one; None if it has none, or has lost them."""
    personal = redaction.PERSONAL.get(BY_NAME[row.type], ())
    fields = [field for field in personal if redaction.redacted(row.data, [field]) != row.data]
    picture = _picture(row, home)
    if not fields and picture is None:
        return None
    size, digest = (None, None) if picture is None else picture
    left = redaction.redacted(row.data, fields)
    codec.decode(row.seq, row.type, row.version, left)  # what could not be read again must not be recorded
    return EventRedacted(
        event=row.seq,
        job=row.job,
        fields=fields,
        sha256=redaction.digest(row.data).hex(),
        left_sha256=redaction.own_digest(left),
        by=by,
        reason=reason,
        picture_bytes=size,
        picture_sha256=digest,
    )


def _picture(row: Row, home: Home) -> tuple[int, str] | None:
    """Bytes and SHA-256 of the event's picture without its texts, if it is a sound one that has some."""
    if row.type != FinalWritten.__name__:
        return None
    path = home.root / json.loads(row.data)["path"]
    if path.parent != home.frames or not path.is_file():
        return None
    content = path.read_bytes()
    try:
        bare = png.without_texts(content)
    except png.BadPicture:
        return None  # verify says so
    return None if bare == content else (len(bare), hashlib.sha256(bare).hexdigest())


def _strip(path: Path) -> None:
    if path.is_file():
        content = path.read_bytes()
        bare = png.without_texts(content)
        if bare != content:
            write_whole(path, bare, durable=True)


def _filed(home: Home, sources: list[dict[str, Any]]) -> Iterator[str]:
    """Files in `done/` and `rejected/` with the content of these drops, and what was said of them."""
    digests = {source["sha256"]: source["claim"] for source in sources if source["kind"] == "file"}
    files = [*_files(home.done), *_files(home.rejected)] if digests else []
    for path in files:
        claim = digests.get(hashlib.sha256(path.read_bytes()).hexdigest())
        if claim is not None:
            yield f"{path.parent.name}/{path.name}"
            beside = [path.with_name(f"{path.name}.error.json"), *path.parent.glob(f"*~{claim}.error.json")]
            yield from (f"{one.parent.name}/{one.name}" for one in beside if one.exists())


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_file() and not path.is_symlink())
