"""Words taken out of a row: the chain holds, and nothing but words goes."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect
from msgspec.structs import replace

from daemon.events import codec, redaction
from daemon.events.redaction import MARKER, PERSONAL, WORD
from daemon.events.types import BY_NAME, Event
from tests.stories import NOON, accepted, failed, finished

PLAIN = {
    "DaemonStarted": {"version", "host", "devices", "model"},
    "DaemonStopped": {"reason"},
    "ModelLoaded": {"device", "model", "sha256"},
    "ModelFailed": {"device", "model", "message"},
    "FrameCreated": {"path", "generator", "project", "device"},
    "PreviewWritten": {"path", "method"},
    "PreviewDeleted": {"path", "why"},
    "FinalDeleted": {"path", "why"},
    "FileMissing": {"path"},
    "FinalWritten": {"path", "sha256", "pixels_sha256", "recipe.scheduler", "recipe.scheduler_config",
                     "recipe.dtype", "recipe.device", "recipe.versions", "recipe.loras_sha256",
                     "recipe.embeddings_sha256",
                     "recipe.image_sha256", "recipe.model_sha256", "recipe.refiner_sha256", "recipe.work"},
    "FrameCancelled": {"path"},
    "FrameFailed": {"kind"},
    "FrameInterrupted": {"why"},
    "FrameResumed": {"path", "device"},
    "EventRedacted": {"fields", "sha256", "left_sha256", "picture_sha256"},
}  # fmt: skip
"""Texts that say nothing of a person: the house's own names, and those of models, devices and projects."""
_PROMPT = {"model", "project", "sampler", "scheduler", "loras", "preview.method", "preview.every",
           "preview.format", "preview.keep", "refiner.model"}  # fmt: skip
_SOURCE = {"source.kind", "source.sha256", "source.claim"}


def texts(kind: inspect.Type, path: str = "") -> Iterator[str]:
    """Where a struct can hold a text, as paths of keys."""
    match kind:
        case inspect.StrType() | inspect.LiteralType() | inspect.DictType() | inspect.AnyType():
            yield path
        case inspect.ListType(item_type=item):
            yield from {path for _ in texts(item, path)}
        case inspect.UnionType(types=types):
            yield from {found for one in types for found in texts(one, path)}
        case inspect.StructType(fields=fields):
            for field in fields:
                yield from texts(field.type, f"{path}.{field.encode_name}" if path else field.encode_name)
        case _:
            pass


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_every_text_of_an_event_is_known_to_be_personal_or_plain(name: str) -> None:
    """A new field must be judged: in `PERSONAL`, or here."""
    every = set(texts(inspect.type_info(BY_NAME[name])))
    personal = PERSONAL.get(BY_NAME[name], ())
    plain = PLAIN.get(name, set())
    if "source.name" in every:
        plain = plain | _SOURCE
    at = {"JobAccepted": "prompt", "FinalWritten": "recipe.prompt"}.get(name)
    plain = plain | {f"{at}.{one}" for one in _PROMPT if at}
    unknown = {path for path in every - plain if not path.startswith(personal)}
    assert unknown == set()


EVENTS: list[Event] = [accepted(), finished(), failed()]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_a_row_without_its_words_still_follows_from_the_one_before(event: Event) -> None:
    """And reads as the same event, with `[redacted]` in it; not so if anything else of it is changed."""
    row = codec.seal(event, seq=1, ts=NOON, cause=None, previous=codec.GENESIS)
    data = redaction.redacted(row.data, PERSONAL[type(event)])
    assert data != row.data
    left = replace(row, data=data)
    assert codec.chain(codec.GENESIS, left) == row.hash
    assert WORD in str(codec.open_row(left).event)
    assert codec.chain(codec.GENESIS, replace(left, job=7)) != row.hash
    assert redaction.redacted(data, PERSONAL[type(event)]) == data


Number = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
Content = st.dictionaries(
    st.text(min_size=1).filter(lambda key: "." not in key and key != MARKER),
    st.recursive(
        st.none() | st.booleans() | Number | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


@given(Content, st.data())
def test_words_go_in_any_order_and_leave_one_digest(content: dict[str, Any], draw: st.DataObject) -> None:
    """One field after the other is as good as all at once; fields that are not named stay as they were."""
    data = msgspec.json.encode(content)
    fields = draw.draw(st.lists(st.sampled_from(sorted(content)), unique=True))
    once = redaction.redacted(data, fields)
    again = data
    for field in reversed(fields):
        again = redaction.redacted(again, [field])
    assert again == once
    assert redaction.digest(once) == redaction.digest(data)
    left = msgspec.json.decode(once)
    assert {key: value for key, value in left.items() if key not in {*fields, MARKER}} == {
        key: value for key, value in msgspec.json.decode(data).items() if key not in fields
    }


@given(st.binary(max_size=90))
def test_any_marker_is_read_or_shows_in_the_chain(rest: bytes) -> None:
    """Damage to it is a broken chain, not an error."""
    digest = redaction.digest(b'{"_redacted":"' + rest)
    assert len(digest) in (0, 32)
