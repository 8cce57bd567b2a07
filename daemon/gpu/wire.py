"""The typed messages between the daemon and a device's child process.  PURE

Each message is one msgspec struct in MessagePack behind its length (4 bytes, little-endian). Commands
go down the child's standard input, replies come up a private copy of its standard output. End of
input means that the daemon is gone: the child ends at once, whatever it is doing.

Every message about a frame carries its `attempt`, so that what a dead child's successor hears or says
can never be taken for news of an earlier try.
"""

from collections.abc import Iterator
from typing import Literal, TypeVar

import msgspec

from daemon.prompts import Hires
from daemon.prompts import Preview as Wish
from daemon.strips import Thumbnail

MAX_MESSAGE = 256 * 2**20
"""Bytes. The largest message is a final PNG; a longer length means that the stream is garbled."""


class Lora(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the checkpoint's weights while this picture is made."""

    file: str
    """Its `.safetensors`, an absolute path."""
    weight: float


class Refiner(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint that makes the last steps."""

    model: str
    model_version: str = ""
    """As in `Begin`."""
    steps: int
    """Of `Begin.steps`."""


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Make this picture. `model` is the checkpoint's folder; loading it, if need be, is part of the work."""

    frame: int
    attempt: int
    model: str
    model_version: str = ""
    """Another one once the checkpoint's files have changed: what is in memory of it is then read again."""
    prompt: str
    negative_prompt: str
    width: int
    height: int
    steps: int
    cfg_scale: float
    seed: int
    sampler: str
    scheduler: str
    store_every: float
    """Seconds of work between two `Stored`; 0 stores every step."""
    loras: list[Lora] = []
    embeddings: dict[str, str] = {}
    """The files of the learned words that the prompts name."""
    image: str | None = None
    """A picture to begin with, an absolute path."""
    strength: float = 1.0
    """How much of the noise it gets: the steps are the last ones of as many as go from all to none."""
    hires: Hires | None = None
    """A second pass, its steps beside `steps`."""
    refiner: Refiner | None = None
    """Never together with `hires`."""
    preview: Wish = Wish()
    vae_approx: str = ""
    """Folder of tiny decoders for previews."""
    resume: bytes | None = None
    """The data of a `Stored` of the same request, to go on from there."""


class Together(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Make these pictures at the same time; each ends by itself, as if it had been begun alone."""

    begins: list[Begin]
    """Of one checkpoint with the same LoRAs."""


class Cancel(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Stop this frame before its next step."""

    frame: int
    attempt: int
    keep_partial: bool = False
    """Decode what there is."""


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The child has imported its libraries and found its device."""

    device: str
    """As people know it: `cpu`, or `cuda:0 NVIDIA H100`."""
    versions: dict[str, str]
    batch: int = 1
    """Pictures that it makes well at the same time."""
    work: str = ""
    """How it is set to work, by all that changes a picture's last bits: precision, threads, compiling."""


class NoDevice(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The child cannot work on the device that it was told, and ends; another try would end the same way."""

    message: str


class Loading(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A long part of loading has begun, or has got on; compiling counts as one."""

    what: str
    done: float | None = None
    """Of its bytes, from 0 to 1; None where they are not counted."""


class Compiled(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What was told to be compiled is, and the step that waited for it is being made."""

    seconds: float
    """From its beginning."""


class Note(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something of a frame cannot be had as it was asked for, and is done another way."""

    frame: int
    attempt: int
    message: str


class Loaded(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The checkpoint is in memory."""

    model: str
    seconds: float
    bytes: int
    held: list[str] = []
    """All checkpoints that are in memory now."""


class LoadFailed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The checkpoint cannot be used; the frame that asked for it is over."""

    frame: int
    attempt: int
    model: str
    message: str


class Preview(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The denoised latent after `step`, as an encoded picture."""

    frame: int
    attempt: int
    step: int
    steps: int
    sigma: float
    width: int
    height: int
    method: Literal["taesd", "latent2rgb"]
    skipped: int
    ms: float
    """From the step's end to the picture being encoded, in milliseconds."""
    data: bytes
    """In the format that was asked for."""
    kept: Thumbnail | None
    """What is kept of the step."""


class Stored(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The frame's state after `step`. One that comes too fast for the pipe gives way to a newer one."""

    frame: int
    attempt: int
    step: int
    data: bytes


class Final(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The finished picture; every preview of the frame that will ever come has come before it."""

    frame: int
    attempt: int
    width: int
    height: int
    pixels_sha256: str
    scheduler: str
    scheduler_config: dict[str, object]
    sigmas: list[float]
    dtype: str
    batch: int = 1
    """The most pictures, with this one, that a call of the UNet was for."""
    image_sha256: str | None = None
    """Of the file of `Begin.image`."""
    data: bytes
    """PNG."""
    kept: Thumbnail | None
    """What is kept of it in small."""


class Cancelled(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The frame was stopped after `step` steps; nothing was decoded, unless what there is was wanted."""

    frame: int
    attempt: int
    step: int
    data: bytes | None = None
    """PNG of the denoised latent of that step."""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The frame cannot be made; the child goes on with the next."""

    frame: int
    attempt: int
    kind: Literal["out_of_memory", "bad_file", "internal"]
    message: str


Command = Begin | Together | Cancel
Reply = (
    Ready
    | NoDevice
    | Loading
    | Compiled
    | Note
    | Loaded
    | LoadFailed
    | Preview
    | Stored
    | Final
    | Cancelled
    | Failed
)
Message = TypeVar("Message")

_encoder = msgspec.msgpack.Encoder()
COMMANDS: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


class Garbled(Exception):
    """The stream does not hold our messages: a bug, or a library that wrote into it."""


def pack(message: Command | Reply) -> bytes:
    """The message behind its length."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "little") + body


def unpack(buffer: bytearray, decoder: msgspec.msgpack.Decoder[Message]) -> Iterator[Message]:
    """Take every whole message off the front of `buffer`; what is left waits for more bytes.

    Raises `Garbled` for a length past `MAX_MESSAGE` or a body that is none of ours.
    """
    while len(buffer) >= 4:
        length = int.from_bytes(buffer[:4], "little")
        if length > MAX_MESSAGE:
            raise Garbled(f"a message of {length} bytes was announced, {MAX_MESSAGE} is the most")
        if len(buffer) < 4 + length:
            return
        body = bytes(memoryview(buffer)[4 : 4 + length])
        del buffer[: 4 + length]
        try:
            yield decoder.decode(body)
        except msgspec.DecodeError as error:
            raise Garbled(f"not one of our messages: {error}") from error
