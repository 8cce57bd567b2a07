"""The vocabulary: every fact that the log can hold, as frozen structs in one closed union.  PURE

An event is named in the past tense and says what happened, never what should be done. Its fields are
what the log stores for good: adding one needs a default, changing or removing one needs an upcaster
in `versions`. None can be part of a reference cycle, so the collector need not look at them (`gc=False`):
replay takes half the time. Paths are relative to the home folder. Whole numbers identify jobs and frames.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

import msgspec

from daemon.faults import Fault
from daemon.prompts import Prompt

Step = Annotated[int, msgspec.Meta(ge=0)]


class DaemonStarted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The daemon has opened its log and is about to take work."""

    version: str
    host: str
    port: int
    """0 where the system was to choose one."""
    pid: int
    devices: list[str]
    model: str


class DaemonStopped(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The daemon ended on purpose; its absence before the next DaemonStarted tells of a crash."""

    reason: str
    """`signal`, or `idle` for `--until-idle`."""


class Source(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a job came from."""

    kind: Literal["file", "http"]
    name: str
    """The file's name as it was dropped (what cannot be shown as `\\xNN`), or the client's address."""
    sha256: str
    """Of the bytes as they came, in hexadecimal."""
    claim: str
    """Names this one job of this one drop: the same claim is never accepted twice."""
    index: int = 0
    """Place of the job in its file, from 0."""
    not_carried: list[str] = []
    """Of a picture or a workflow that was dropped to be made again: what a prompt cannot say, in words."""


class JobAccepted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A prompt was checked and queued; its frames are numbered `first_frame`, `first_frame + 1` …"""

    job: int
    first_frame: int
    seeds: list[int]
    """One per frame, drawn and recorded here where the prompt left it open."""
    prompt: Prompt
    """The whole prompt with every default filled in."""
    source: Source


class JobRejected(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A dropped file was refused; it lies in `rejected/` with the same faults beside it."""

    source: Source
    faults: list[Fault]


class JobDuplicate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A drop that was taken before came again; nothing was queued."""

    job: int
    """The job that the drop repeats; of a file of several jobs, the first."""
    source: Source


class ModelLoaded(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A device holds a checkpoint and can sample with it."""

    device: str
    model: str
    seconds: float
    bytes: int
    """Size of the parameters in memory."""
    sha256: str | None = None
    """Of the weights: of the file; of a folder in diffusers' layout, of the lines that `sha256sum` prints for
    its `*/*.safetensors`, sorted by bytes. null where the frame that it was loaded for ended before the sum
    was known, or the files were changed meanwhile."""


class ModelFailed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A checkpoint could not be loaded; the frame that asked for it fails with the same message."""

    device: str
    model: str
    message: str


class FrameCreated(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A device has begun a frame; its preview will appear at `path`."""

    frame: int
    job: int
    index: int
    """Place within the job, from 0."""
    seed: int
    path: str
    """Of the preview picture."""
    generator: Literal["sdxl"]
    project: str
    device: str


class PreviewWritten(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The denoised latent after `step` stands as a whole picture at `path`."""

    frame: int
    job: int
    step: Step
    """Counts the steps a person asked for, from 1."""
    steps: Step
    sigma: float
    """Noise level that the step began at, in the scheduler's units."""
    path: str
    bytes: int
    width: int
    height: int
    method: Literal["taesd", "latent2rgb"]
    skipped: int
    """Steps since the last PreviewWritten whose preview gave way to a newer one."""
    ms: float
    """From the step's end to the picture lying whole on disk, in milliseconds."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What was really used to make a picture, enough to make it again."""

    prompt: Prompt
    seed: int
    scheduler: str
    """The diffusers class."""
    scheduler_config: dict[str, Any]
    """Where it differs from the class's defaults."""
    dtype: str
    device: str
    versions: dict[str, str]
    """Of torch, diffusers and transformers."""
    sigmas: list[float] = []
    """Noise levels at each call of the UNet, and the one at which the last ends."""
    loras_sha256: list[str] = []
    """Of the files of the prompt's `loras`, in their order; "" for one that was changed meanwhile."""
    embeddings_sha256: list[str] = []
    """Of the files of the embeddings that the prompts name, in the order in which they name them first."""
    image_sha256: str | None = None
    """Of the file that the picture began with."""
    batch: int = 1
    """The most pictures, with this one, that were made at once. Where it is 1 the pixels follow from all else
    here bit for bit; sums of more are rounded otherwise."""
    model_sha256: str | None = None
    """Of the checkpoint's weights, as in ModelLoaded; null in pictures from before it was kept, and where the
    files were changed while the picture was made."""
    refiner_sha256: str | None = None
    """Of the refiner's weights, likewise; null without one."""
    work: str = ""
    """How the device was set to work, as far as that rounds differently: precision, threads, compiling."""


class FinalWritten(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The finished picture stands whole and fsynced at `path`."""

    frame: int
    job: int
    path: str
    bytes: int
    width: int
    height: int
    sha256: str
    """Of the file."""
    pixels_sha256: str
    """Of the decoded RGB bytes, row by row: equal pictures have equal values whatever the file format."""
    seconds: float
    """From FrameCreated to the file lying on disk."""
    recipe: Recipe


class PreviewDeleted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The frame's preview file is gone."""

    frame: int
    job: int
    path: str
    why: Literal["replaced", "cancelled", "failed", "interrupted", "orphan"]


class FinalDeleted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The finished picture goes, on purpose; what happened to it before stays in the log."""

    frame: int
    job: int
    path: str
    why: Literal["pruned"]


class FileMissing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A start found that the finished picture is not where the log says; nobody told the daemon why."""

    frame: int
    job: int
    path: str


class EventRedacted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Words of an earlier event are forgotten for good: its row has `[redacted]` in their place.

    Both digests are in the hash chain with this event, so that what was there is still vouched for, and
    nothing but what was left can stand there now.
    """

    event: int
    """Its `seq`."""
    job: int | None
    """That it is about, if any."""
    fields: list[str]
    """Where the words were, as in `prompt.negative_prompt`."""
    sha256: str
    """Of the event's data as it was recorded, in hexadecimal."""
    left_sha256: str
    """Of the data that its row has from now on."""
    by: str
    reason: str
    picture_bytes: int | None = None
    """Of a finished picture's file once it has lost the texts that it carried; null where it keeps them."""
    picture_sha256: str | None = None
    """Of that file."""


class CancelRequested(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Someone asked to stop a frame, looking at the picture of `step`."""

    frame: int
    job: int
    by: str
    """`the page at ADDRESS`, `NAME at the command line`, or the address alone."""
    step: Step
    keep_partial: bool = False
    """Whether what there is should be decoded and kept."""


class QueuePaused(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Nothing new is begun until QueueResumed; frames being made go on to their end."""

    by: str


class QueueResumed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Waiting frames are begun again."""

    by: str


class JobReprioritised(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The job's frames that have not ended wait by another priority from now on."""

    job: int
    priority: int
    by: str


class FrameCancelled(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The frame was stopped after `step` steps; the VAE decode was not paid for, unless it was asked for."""

    frame: int
    job: int
    step: Step
    path: str | None = None
    """Of the partial picture, where it was to be kept."""


class FrameFailed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The frame was given up."""

    frame: int
    job: int
    attempt: int
    kind: Literal["out_of_memory", "bad_model", "bad_file", "device_died", "disk", "internal"]
    message: str


class FrameInterrupted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The daemon or the device died while the frame was being made; the frame waits to go on."""

    frame: int
    job: int
    step: Step
    why: Literal["daemon_died", "daemon_stopped", "device_died"]
    message: str
    together: int = 1
    """Frames, with this one, that the device was making: of several, none is held to be the cause."""


class FrameResumed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A device has taken an interrupted frame up again from `step`."""

    frame: int
    job: int
    step: Step
    path: str
    """Of the preview picture."""
    attempt: int
    device: str


Event = (
    DaemonStarted
    | DaemonStopped
    | JobAccepted
    | JobRejected
    | JobDuplicate
    | ModelLoaded
    | ModelFailed
    | FrameCreated
    | PreviewWritten
    | FinalWritten
    | PreviewDeleted
    | FinalDeleted
    | FileMissing
    | EventRedacted
    | CancelRequested
    | QueuePaused
    | QueueResumed
    | JobReprioritised
    | FrameCancelled
    | FrameFailed
    | FrameInterrupted
    | FrameResumed
)
"""The closed union. `codec` and every fold go through it, so a forgotten case fails the type check."""

BY_NAME: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}
"""Event types by the name that the log's `type` column holds."""


class Recorded(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row of the log: an event and its place in history."""

    seq: int
    """1, 2, 3 … without gaps, in commit order."""
    ts: datetime
    """UTC, to the microsecond."""
    event: Event
    cause: int | None
    """The `seq` of the event that this one answers."""
    hash: bytes
    """SHA-256 over the previous row's hash and this row's canonical bytes, its first `codec.KEPT` bytes."""
