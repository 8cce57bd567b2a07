"""Frames whose maker is gone: record it, and leave no preview file behind.

The same steps serve a device that died, a daemon that is stopping, and a start after a crash.
"""

from functools import partial

from anyio import to_thread

from daemon import pictures
from daemon.events.log import Log
from daemon.gpu import stored
from daemon.projections import decisions
from daemon.projections.decisions import Interruption
from daemon.projections.frames import BEING_MADE, ENDED
from daemon.projections.state import State
from daemon.settings import Home


async def recover(log: Log[State], home: Home, cause: int) -> None:
    """What a start owes the last run: its open frames go back to the queue, its leftovers go away."""
    for frame in list(log.state.open):
        if log.state.frames[frame].status in BEING_MADE:
            await interrupt(log, home, frame, "daemon_died", "the daemon died", cause)
        else:
            await tidy(log, home, frame, cause)
    await to_thread.run_sync(pictures.sweep, home.frames)
    await to_thread.run_sync(stored.sweep, home.frames, set(log.state.open))


async def interrupt(
    log: Log[State], home: Home, frame: int, why: Interruption, message: str, cause: int, together: int = 1
) -> None:
    """Nobody makes the frame any more: it waits, or ends if it was to stop or is given up."""
    decision = partial(decisions.interrupt, frame=frame, why=why, message=message, together=together)
    (first, *_) = await log.decide(decision, cause=cause)
    await tidy(log, home, frame, first.seq)


async def tidy(log: Log[State], home: Home, frame: int, cause: int) -> None:
    """Delete the preview file of a frame that is not being made, if it has one, and say so; a frame that has
    ended needs its stored state no more.

    A crash between the final picture and its FinalWritten leaves a picture that no event names, and the
    frame is made again under another name: it goes too.
    """
    if log.state.frames[frame].status in ENDED:
        await to_thread.run_sync(stored.discard, home.frames, frame)
    preview, final = log.state.frames[frame].preview, log.state.frames[frame].path
    if preview is not None:
        if final is None:
            await to_thread.run_sync(pictures.delete, home.root / pictures.final_name(preview))
        await to_thread.run_sync(pictures.delete, home.root / preview)
        await log.decide(partial(decisions.preview_deleted, frame=frame), cause=cause)
