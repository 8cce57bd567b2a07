"""Whether the keys of a job agree with each other: what no type can know.  PURE

Each rule looks at a decoded job as it was written, with everything still possible in it, and tells what a
person should change; values of the wrong type are left to `misfits`, which tells those.
"""

from collections.abc import Iterator
from typing import Any

from daemon import emphasis
from daemon.misfits import Misfit
from daemon.samplers import Choice, choose

_SHOWN = 40


def disagreements(job: Any, path: str = "$") -> Iterator[Misfit]:
    """All that is wrong with a decoded job whose values are each by themselves right."""
    if isinstance(job, dict):
        yield from _unpaired(job, path)
        yield from _overweight(job, path)


def _unpaired(job: dict[str, Any], path: str) -> Iterator[Misfit]:
    """The sampler, the scheduler, or the two of them together."""
    said = {key: job.get(key) for key in ("sampler", "scheduler")}
    if not all(name is None or isinstance(name, str) for name in said.values()):
        return
    choice = choose(said["sampler"], said["scheduler"])
    if not isinstance(choice, Choice):
        key = choice.key if said[choice.key] is not None else "sampler"
        yield Misfit(path=f"{path}.{key}", message=choice.message, suggestion=choice.suggestion)


def _overweight(job: dict[str, Any], path: str) -> Iterator[Misfit]:
    """Words that are to count so much that only noise would come of it."""
    for key in ("prompt", "negative_prompt"):
        text = job.get(key)
        if isinstance(text, str) and (piece := emphasis.overweight(text)):
            words = piece.text if len(piece.text) <= _SHOWN else f"{piece.text[: _SHOWN - 1]}…"
            message = f"the weight of {words!r} comes to {piece.weight:g}, {emphasis.LARGEST:g} is the most"
            hint = r"Weights of 0.5 to 1.5 are usual; write \( and \) where brackets are characters."
            yield Misfit(path=f"{path}.{key}", message=message, suggestion=hint)
