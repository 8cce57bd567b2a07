"""Prompt file → `Prompt`, or every fault in it with the place where it stands.  PURE

`Asked` is what a person may write; `Prompt` is the same with every default filled in, as the log keeps
it. `parse` answers one or the other and never raises for anything that a file can hold.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from daemon.faults import Fault, diagnose, fault_at, repeated, text_of
from daemon.samplers import Choice, Refusal, choose
from daemon.settings import DEMO

MAX_BYTES = 2**20
"""Of a prompt file; more is refused."""

EXAMPLE = 'Write at least {"prompt": "a red fox"}.'

Text = Annotated[str, Meta(max_length=10_000)]
Pixels = Annotated[int, Meta(ge=64, le=4096, multiple_of=8)]
Steps = Annotated[int, Meta(ge=1, le=500)]
Scale = Annotated[float, Meta(ge=0, le=100)]
Seed = Annotated[int, Meta(ge=0, lt=2**53)]
Count = Annotated[int, Meta(ge=1, le=100)]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
Priority = Annotated[int, Meta(ge=-1000, le=1000)]
Project = Annotated[str, Meta(min_length=1, max_length=100)]
Model = Annotated[str, Meta(max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_. -]*$(?!\n)")]
"""A name inside `models/checkpoints`, never a path."""


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job as a person writes it: `{"prompt": "a red fox"}` and, if they like, more."""

    prompt: Text
    negative_prompt: Text = ""
    width: Pixels | None = None
    height: Pixels | None = None
    steps: Steps | None = None
    cfg_scale: Scale | None = None
    sampler: Name | None = None
    """As `safelight samplers` lists them, or an A1111 name, which may hold the scheduler too."""
    scheduler: Name | None = None
    seed: Seed | None = None
    """null: drawn, and recorded with the job."""
    count: Count = 1
    """Pictures of this prompt; the seed goes up by one from picture to picture."""
    model: Model | None = None
    project: Project = "default"
    priority: Priority = 0
    """Higher goes first."""


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """A job with nothing left open but, where the person did, the seed."""

    prompt: str
    negative_prompt: str
    width: int
    height: int
    steps: int
    cfg_scale: float
    seed: int | None
    count: int
    model: str
    project: str
    priority: int
    # Before there were these two, every picture was made so.
    sampler: str = "euler"
    scheduler: str = "ddim_uniform"


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint is best asked for when the prompt does not say."""

    width: int
    height: int
    steps: int
    cfg_scale: float


SDXL_DEFAULTS = Defaults(width=1024, height=1024, steps=30, cfg_scale=6.0)
"""SDXL was trained at 1024² (arXiv 2307.01952, section 2.3)."""
DEMO_DEFAULTS = Defaults(width=256, height=256, steps=24, cfg_scale=5.0)


def parse(data: bytes, model: str) -> Prompt | list[Fault]:
    """The job that a file's bytes hold, or all that can be known to be wrong with them.

    `model` is the checkpoint's name where the prompt gives none.
    """
    text = text_of(data, MAX_BYTES)
    if isinstance(text, Fault):
        return [text]
    try:
        asked = msgspec.json.decode(text, type=Asked)
    except (msgspec.DecodeError, RecursionError):
        return diagnose(text, Asked, EXAMPLE)
    return repeated(text) or _blank(text, asked) or _unpaired(text, asked) or complete(asked, model)


def complete(asked: Asked, model: str) -> Prompt:
    """Every default filled in. `asked` has a sampler and a scheduler that go together."""
    choice = choose(asked.sampler, asked.scheduler)
    assert isinstance(choice, Choice), choice
    name = asked.model or model
    given = {key: value for key, value in _fields(asked).items() if value is not None}
    defaults = DEMO_DEFAULTS if name == DEMO else SDXL_DEFAULTS
    return Prompt(**{**_fields(defaults), "seed": None, **given, **_fields(choice), "model": name})


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _blank(text: str, asked: Asked) -> list[Fault]:
    return [] if asked.prompt.strip() else [fault_at(text, "$.prompt", "`prompt` is blank", EXAMPLE)]


def _unpaired(text: str, asked: Asked) -> list[Fault]:
    """What is wrong with the sampler, the scheduler, or the two of them together."""
    choice = choose(asked.sampler, asked.scheduler)
    if not isinstance(choice, Refusal):
        return []
    key = choice.key if getattr(asked, choice.key) is not None else "sampler"
    return [fault_at(text, f"$.{key}", choice.message, choice.suggestion)]
