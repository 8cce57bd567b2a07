"""Which frame is made next.  PURE"""

from daemon.projections.frames import Frame
from daemon.projections.state import State


def next_frame(state: State) -> Frame | None:
    """The waiting frame of the highest priority, the earliest of those; None when nothing waits.

    A paused queue begins nothing.
    """
    if state.paused_by is not None:
        return None
    waiting = (frame for number in state.open if (frame := state.frames[number]).status == "queued")
    return min(waiting, key=lambda frame: (-frame.priority, frame.id), default=None)


def idle(state: State) -> bool:
    """Every job has ended and nothing of one is left to tidy."""
    return not state.open
