"""Which frames are made next, and which of them at the same time.  PURE

Priority rules, then arrival. Among frames of one priority, those that can be made with what is in memory go
before the one that came first, but only if they came soon after it: so no frame ever lets more than
`OVERTAKING` others go before it, whatever arrives meanwhile.
"""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from daemon.projections.frames import Frame
from daemon.projections.state import State
from daemon.prompts import Preview, Prompt

OVERTAKING = 32
"""By so many numbers a frame may be younger than the one it goes before: of two checkpoints in turns, each
is then read once for sixteen pictures or more."""
MEGAPIXEL = 1024 * 1024

Warm = Mapping[str, frozenset[str]]
"""The checkpoints that a device holds in memory, and the LoRAs that were last used with each."""


def next_batch(state: State, warm: Warm, most: int) -> list[Frame]:
    """The frames to be made next, at the same time: one that waits and others that fit it. None when nothing
    waits, or the queue is paused.

    `most` pictures of a megapixel are made at once, fewer larger ones, no more smaller ones.
    """
    if state.paused_by is not None:
        return []
    waiting = [frame for number in state.open if (frame := state.frames[number]).status == "queued"]
    if not waiting:
        return []
    nearest = _nearest(waiting)
    first = min(nearest, key=lambda frame: (_cost(state, frame, warm), frame.id))
    room = max(1, min(most, most * MEGAPIXEL // (first.width * first.height)))
    others = (frame for frame in nearest if frame is not first and _fit(state, first, frame))
    return [first, *sorted(others, key=lambda frame: frame.id)[: room - 1]]


def _nearest(waiting: Iterable[Frame]) -> list[Frame]:
    """The frame whose turn it is, and those that may go before it."""
    eldest = min(waiting, key=lambda frame: (-frame.priority, frame.id))
    last = eldest.id + OVERTAKING
    return [frame for frame in waiting if frame.priority == eldest.priority and frame.id <= last]


def _cost(state: State, frame: Frame, warm: Warm) -> int:
    """What must be read before it can begin: 0 for nothing, 1 for LoRAs, 2 for its checkpoint."""
    if frame.model not in warm:
        return 2
    loras = {lora.name for lora in state.prompts[frame.job].loras}
    return 0 if loras <= warm[frame.model] else 1


def _fit(state: State, one: Frame, other: Frame) -> bool:
    """Whether they can share the calls of the UNet from the first to the last."""
    prompts = state.prompts[one.job], state.prompts[other.job]
    if any(_alone(frame, prompt) for frame, prompt in zip((one, other), prompts, strict=True)):
        return False
    return one.job == other.job or _shared(prompts[0]) == _shared(prompts[1])


def _alone(frame: Frame, prompt: Prompt) -> bool:
    """A second pass is of another size, or of another checkpoint. One that was interrupted may be what its
    device died of, and is to show it by itself.
    """
    return prompt.hires is not None or prompt.refiner is not None or frame.created_at is not None


def _shared(prompt: Prompt) -> Prompt:
    """The prompt without what each picture has for itself: the words, how much they count, the noise, what
    it begins with, how it is shown.
    """
    return replace(
        prompt, prompt="", negative_prompt="", cfg_scale=0.0, seed=None, count=1, image=None, strength=None,
        project="", priority=0, preview=Preview(),
    )  # fmt: skip


def idle(state: State) -> bool:
    """Every job has ended and nothing of one is left to tidy."""
    return not state.open
