"""Whether a job's keys agree with each other and with the files that there are: what no type knows.  PURE

Each rule looks at a decoded job as it was written, with everything still possible in it, and tells what a
person should change; values of the wrong type are left to `misfits`, which tells those.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Literal, TypeGuard

import msgspec

from daemon import embeddings, emphasis, tags
from daemon.misfits import Misfit
from daemon.samplers import LONGEST, Choice, choose, most_steps
from daemon.settings import DEMO

USUAL_STEPS = {DEMO: 24}
"""By model, where the prompt does not say; `OTHERS_STEPS` for those that are not here."""
OTHERS_STEPS = 30
USUAL_STRENGTH = 0.6
"""Of an image to begin with, where the prompt does not say: the motif stays, its parts may change."""
LARGEST = 4096
"""Pixels of a side, after a second pass too."""
USUAL_SCALE, USUAL_SECOND = 1.5, 0.4
"""Of a second pass, where the prompt does not say."""
_SHOWN = 40
_FEW = 8


class Lack(msgspec.Struct, frozen=True):
    """Why a file that a prompt names cannot be used."""

    message: str
    suggestion: str


Kind = Literal["lora", "embedding", "image", "refiner"]
Lacks = Callable[[Kind, str], Lack | None]
"""Looks for a file of a kind by the name that a prompt gives it; answers None if it is there."""


def nothing_lacks(_kind: Kind, _name: str) -> Lack | None:
    """For those who judge a prompt where there are no files to look for."""
    return None


def disagreements(
    job: Any, path: str = "$", lacks: Lacks = nothing_lacks, model: str = ""
) -> Iterator[Misfit]:
    """All that is wrong with a decoded job whose values are each by themselves right. `model` is the
    checkpoint of one that names none.
    """
    if isinstance(job, dict):
        yield from _unpaired(job, path)
        yield from _overweight(job, path)
        yield from _tagged(job, path, lacks)
        yield from _without_lora(job, path, lacks)
        yield from _without_embedding(job, path, lacks)
        yield from _beginning(job, path, lacks)
        yield from _gone_over(job, path)
        yield from _too_fine(job, path, model)
        yield from _refined(job, path, lacks)


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


def _tagged(job: dict[str, Any], path: str, lacks: Lacks) -> Iterator[Misfit]:
    """LoRAs that stand in the prompt."""
    text = job.get("prompt")
    if not isinstance(text, str):
        return
    try:
        _, found = tags.taken(text)
    except ValueError as error:
        yield Misfit(path=f"{path}.prompt", message=str(error), suggestion="Write <lora:NAME:0.8> and words.")
        return
    for tag in found:
        if (lack := lacks("lora", tag.name)) is not None:
            yield Misfit(path=f"{path}.prompt", message=lack.message, suggestion=lack.suggestion)


def _without_lora(job: dict[str, Any], path: str, lacks: Lacks) -> Iterator[Misfit]:
    """LoRAs whose files are not there."""
    loras = job.get("loras")
    for number, lora in enumerate(loras if isinstance(loras, list) else []):
        name = lora.get("name") if isinstance(lora, dict) else None
        if isinstance(name, str) and (lack := lacks("lora", name)) is not None:
            where = f"{path}.loras[{number}].name"
            yield Misfit(path=where, message=lack.message, suggestion=lack.suggestion)


def _without_embedding(job: dict[str, Any], path: str, lacks: Lacks) -> Iterator[Misfit]:
    """Learned words that nobody has put there; the first few tell as much as hundreds."""
    for key in ("prompt", "negative_prompt"):
        text = job.get(key)
        names = embeddings.named(text) if isinstance(text, str) else []
        lacking = (lack for name in names if (lack := lacks("embedding", name)) is not None)
        for lack in islice(lacking, _FEW):
            yield Misfit(path=f"{path}.{key}", message=lack.message, suggestion=lack.suggestion)


def _beginning(job: dict[str, Any], path: str, lacks: Lacks) -> Iterator[Misfit]:
    """An image to begin with, and what goes with it."""
    image, strength, sampler = (job.get(key) for key in ("image", "strength", "sampler"))
    if image is None and isinstance(strength, int | float):
        hint = "Name the image to begin with, or take it out."
        yield Misfit(path=f"{path}.strength", message="`strength` needs an `image`", suggestion=hint)
    if not isinstance(image, str):
        return
    if (lack := lacks("image", image)) is not None:
        yield Misfit(path=f"{path}.image", message=lack.message, suggestion=lack.suggestion)
    yield from _no_beginner(sampler, path)


def _gone_over(job: dict[str, Any], path: str) -> Iterator[Misfit]:
    """A second pass, which begins with the picture of the first."""
    hires = job.get("hires")
    if not isinstance(hires, dict):
        return
    scale = hires.get("scale", USUAL_SCALE)
    sides = [side for key in ("width", "height") if _counts(side := job.get(key))]
    if _counts(scale) and any(side * scale > LARGEST for side in sides):
        message = (
            f"the second pass would be {max(sides) * scale:g} pixels wide or high, {LARGEST} is the most"
        )
        hint = f"Take a scale of at most {LARGEST / max(sides):.2f}."
        yield Misfit(path=f"{path}.hires", message=message, suggestion=hint)
    if not isinstance(job.get("image"), str):
        yield from _no_beginner(job.get("sampler"), path)


def _refined(job: dict[str, Any], path: str, lacks: Lacks) -> Iterator[Misfit]:
    """Another checkpoint for the last steps."""
    refiner, steps = job.get("refiner"), job.get("steps")
    if not isinstance(refiner, dict):
        return
    if isinstance(name := refiner.get("model"), str) and (lack := lacks("refiner", name)) is not None:
        yield Misfit(path=f"{path}.refiner.model", message=lack.message, suggestion=lack.suggestion)
    if isinstance(job.get("hires"), dict):
        message = "`refiner` and `hires` do not go together"
        yield Misfit(path=f"{path}.refiner", message=message, suggestion="Take one of them out.")
    if steps == 1:
        message = "with a `refiner` there are 2 steps at least, one by each checkpoint"
        yield Misfit(path=f"{path}.steps", message=message, suggestion="Take more steps, or no refiner.")
    if not isinstance(job.get("image"), str):
        yield from _no_beginner(job.get("sampler"), path)


def _no_beginner(sampler: Any, path: str) -> Iterator[Misfit]:
    choice = choose(sampler, None) if isinstance(sampler, str) else None
    if isinstance(choice, Choice) and choice.sampler == "lms":
        message = "`lms` cannot begin in the middle: in diffusers it needs all steps from the noisiest on"
        yield Misfit(path=f"{path}.sampler", message=message, suggestion="The nearest is `dpmpp_2m`.")


def _too_fine(job: dict[str, Any], path: str, model: str) -> Iterator[Misfit]:
    """Schedules of more steps than there are noise levels to tell apart, of either pass."""
    sampler, scheduler, name = job.get("sampler"), job.get("scheduler"), _said(job, "model", model)
    choice = choose(sampler, scheduler) if _words(sampler) and _words(scheduler) else None
    if not isinstance(choice, Choice) or not isinstance(name, str):
        return
    steps = _said(job, "steps", USUAL_STEPS.get(name, OTHERS_STEPS))
    begun = isinstance(job.get("image"), str)
    strength = _said(job, "strength", USUAL_STRENGTH) if begun else 1
    where = "steps" if job.get("steps") is not None else "strength"
    yield from _schedule_too_long(choice, steps, strength, f"{path}.{where}")
    if isinstance(hires := job.get("hires"), dict):
        own = [f"hires.{key}" for key in ("steps", "strength") if hires.get(key) is not None]
        where = "steps" if "hires.steps" not in own and job.get("steps") is not None else (*own, "hires")[0]
        second = _said(hires, "steps", steps), hires.get("strength", USUAL_SECOND)
        yield from _schedule_too_long(choice, *second, f"{path}.{where}")


def _counts(value: Any) -> TypeGuard[float]:
    """Whether it is a number to reckon with. Others, which may be more than a float can hold, are wrong by
    themselves.
    """
    return isinstance(value, int | float) and 0 < value < 2**53


def _words(name: Any) -> bool:
    return name is None or isinstance(name, str)


def _said(values: dict[str, Any], key: str, usual: Any) -> Any:
    return usual if values.get(key) is None else values[key]


def _schedule_too_long(choice: Choice, steps: Any, strength: Any, where: str) -> Iterator[Misfit]:
    """The steps are the last ones of a schedule that is as much longer as `strength` is less than 1."""
    if not (_counts(steps) and _counts(strength)):
        return
    most, weaker = most_steps(choice), strength < 1
    if steps > most * strength and (weaker or most < LONGEST):  # the key's own limit is LONGEST
        said = f"{steps:g} steps at a strength of {strength:g}" if weaker else f"{steps:g} steps"
        pair = f"`{choice.sampler}` with `{choice.scheduler}`"
        whose = pair if most < LONGEST else "the model's noise levels"
        message = f"{said} are finer than {whose}"
        hint = f"Take at most {int(most * strength)} steps{', or a greater strength' if weaker else ''}."
        yield Misfit(path=where, message=message, suggestion=hint)
