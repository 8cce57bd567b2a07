"""The framing: any stream of messages, cut anywhere, comes out as it went in; anything else is Garbled."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.gpu import wire
from daemon.strips import Thumbnail

WHOLE = st.integers(0, 2**53 - 1)
BEGINS = st.builds(
    wire.Begin, frame=WHOLE, attempt=WHOLE, model=st.text(), prompt=st.text(), negative_prompt=st.text(),
    width=WHOLE, height=WHOLE, steps=WHOLE, cfg_scale=st.floats(allow_nan=False), seed=WHOLE,
    sampler=st.text(), scheduler=st.text(), store_every=st.floats(0, 99), resume=st.none() | st.binary(),
)  # fmt: skip
TOGETHER = st.builds(wire.Together, begins=st.lists(BEGINS, max_size=3))
CANCELS = st.builds(wire.Cancel, frame=WHOLE, attempt=WHOLE, keep_partial=st.booleans())
REPLIES = st.one_of(
    st.builds(wire.Ready, device=st.text(), versions=st.dictionaries(st.text(), st.text())),
    st.builds(wire.Compiled, seconds=st.floats(0, 1e6)),
    st.builds(wire.Loading, what=st.text(), done=st.none() | st.floats(0, 1)),
    st.builds(wire.Cancelled, frame=WHOLE, attempt=WHOLE, step=WHOLE),
    st.builds(
        wire.Final, frame=WHOLE, attempt=WHOLE, width=WHOLE, height=WHOLE, pixels_sha256=st.text(),
        scheduler=st.text(), scheduler_config=st.dictionaries(st.text(), st.none() | st.booleans() | WHOLE),
        sigmas=st.lists(st.floats(allow_nan=False)), dtype=st.text(), data=st.binary(max_size=2000),
        kept=st.none() | st.builds(
            Thumbnail, step=WHOLE, sigma=st.floats(allow_nan=False), width=WHOLE, height=WHOLE,
            data=st.binary(max_size=200), final=st.booleans(),
        ),
    ),
)  # fmt: skip


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    """The stream cut at the given places."""
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(places)]


@given(st.lists(BEGINS | TOGETHER | CANCELS, max_size=5), st.lists(WHOLE, max_size=12))
def test_commands_survive_any_cutting(commands: list[wire.Command], cuts: list[int]) -> None:
    """However a pipe cuts the stream up, the same commands come out in the same order."""
    buffer, heard = bytearray(), []
    for piece in pieces(b"".join(map(wire.pack, commands)), cuts):
        buffer += piece
        heard += list(wire.unpack(buffer, wire.COMMANDS))
    assert heard == commands
    assert not buffer


@given(st.lists(REPLIES, max_size=5), st.lists(WHOLE, max_size=12))
def test_replies_survive_any_cutting(replies: list[wire.Reply], cuts: list[int]) -> None:
    """The same for what the child says."""
    buffer, heard = bytearray(), []
    for piece in pieces(b"".join(map(wire.pack, replies)), cuts):
        buffer += piece
        heard += list(wire.unpack(buffer, wire.REPLIES))
    assert heard == replies
    assert not buffer


@given(st.binary(max_size=200))
def test_noise_is_garbled_or_waits(noise: bytes) -> None:
    """Random bytes never come out as anything but `Garbled`, a wait for more, or a true message."""
    buffer = bytearray(noise)
    with contextlib.suppress(wire.Garbled):
        for message in wire.unpack(buffer, wire.COMMANDS):
            assert isinstance(message, wire.Command)


@pytest.mark.parametrize(
    "stream",
    [
        (wire.MAX_MESSAGE + 1).to_bytes(4, "little"),
        b"\x00\x00\x00\x00",
        b"\x01\x00\x00\x00\xc0",
        b"UserWarning: something is deprecated\n",
        wire.pack(wire.Loading(what="a reply where a command belongs")),
    ],
    ids=["too long", "empty", "nil", "a print", "the wrong way"],
)
def test_what_is_none_of_ours_is_garbled(stream: bytes) -> None:
    """A length past the most, an empty body, a library's print and a reply among commands are refused."""
    with pytest.raises(wire.Garbled):
        list(wire.unpack(bytearray(stream), wire.COMMANDS))


def test_a_message_before_the_noise_is_heard() -> None:
    """What came whole before the stream went bad is not lost."""
    cancel = wire.Cancel(frame=1, attempt=1)
    messages = wire.unpack(bytearray(wire.pack(cancel) + b"\xff\xff\xff\xff"), wire.COMMANDS)
    assert next(messages) == cancel
    with pytest.raises(wire.Garbled):
        next(messages)
