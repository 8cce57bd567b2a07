"""One job as a person writes it, and as the log keeps it.  PURE

`Asked` is what a person may write; `Prompt` is the same with every default filled in. `parse` answers
one or the faults of the other, and never raises for anything that a text can hold. What a whole file may
be is in `sheets`.
"""

import json
import re
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from daemon import tags
from daemon.agreement import (
    OTHERS_STEPS,
    USUAL_SCALE,
    USUAL_SECOND,
    USUAL_STEPS,
    USUAL_STRENGTH,
    Lacks,
    disagreements,
    nothing_lacks,
)
from daemon.faults import Fault, diagnose, text_of
from daemon.samplers import Choice, choose
from daemon.settings import DEMO

MAX_BYTES = 2**20
"""Of a prompt file; more is refused."""

_LEAST = 'Write at least {"prompt": "a red fox"}.'
EXAMPLES = {
    "": _LEAST,
    "prompt": _LEAST,
    "jobs": 'Write {"jobs": [{"prompt": "a red fox"}, {"prompt": "a grey wolf"}]}.',
}
"""For who left something out: by key, "" for the whole text."""

Text = Annotated[str, Meta(max_length=10_000)]
Words = Annotated[str, Meta(max_length=10_000, pattern=r"\S")]
"""Text with something in it."""
Pixels = Annotated[int, Meta(ge=64, le=4096, multiple_of=8)]
Steps = Annotated[int, Meta(ge=1, le=500)]
Scale = Annotated[float, Meta(ge=0, le=100)]
Seed = Annotated[int, Meta(ge=0, lt=2**53)]
Count = Annotated[int, Meta(ge=1, le=100)]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
Priority = Annotated[int, Meta(ge=-1000, le=1000)]
Project = Annotated[str, Meta(min_length=1, max_length=100)]
Model = Annotated[str, Meta(max_length=tags.LONGEST, pattern=tags.NAME)]
"""A name inside a folder of `models`, never a path."""
Place = Annotated[str, Meta(min_length=1, max_length=500)]
Strength = Annotated[float, Meta(ge=0.02, le=1)]

OTHER_NAMES = {
    "batch_size": "count",
    "cfg": "cfg_scale",
    "checkpoint": "model",
    "denoise": "strength",
    "denoising_strength": "strength",
    "init_image": "image",
    "ckpt_name": "model",
    "guidance": "cfg_scale",
    "refiner_checkpoint": "refiner",
    "hires_fix": "hires",
    "guidance_scale": "cfg_scale",
    "n_iter": "count",
    "negative": "negative_prompt",
    "noise_seed": "seed",
    "num_images": "count",
    "num_inference_steps": "steps",
    "positive": "prompt",
    "text": "prompt",
}
"""What other programs call our keys, for the suggestion beside an unknown one."""


class Lora(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A small change of the checkpoint's weights, for this picture."""

    name: Annotated[Model, Meta(description="A file in models/loras; .safetensors may be left out.")]
    weight: Annotated[float, Meta(ge=-10, le=10, description="How much of it; 0 is nothing.")] = 1.0


class SecondPass(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The finished picture is enlarged and gone over once more."""

    scale: Annotated[float, Meta(ge=1.05, le=4, description="Times the width and the height.")] = USUAL_SCALE
    steps: Annotated[Steps | None, Meta(description="Of the second pass; null: as many as of the first.")] = (
        None
    )
    strength: Annotated[Strength, Meta(description="How far to go from the enlarged picture.")] = USUAL_SECOND


class Hires(msgspec.Struct, frozen=True, kw_only=True):
    """A second pass with nothing left open."""

    scale: float
    steps: int
    strength: float


class Refiner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another checkpoint makes the last steps."""

    model: Annotated[Model, Meta(description="A name in models/checkpoints.")]
    at: Annotated[
        float, Meta(ge=0.01, le=0.99, description="The share of the steps after which it takes over.")
    ] = 0.8


def handed_over(steps: int, at: float) -> int:
    """Of two steps or more, how many are made before a refiner takes over: some, and never all."""
    return min(max(round(steps * at), 1), steps - 1)


def enlarged(pixels: int, scale: float) -> int:
    """A side of the picture after the second pass: the next lower multiple of 8."""
    return int(pixels * scale) // 8 * 8


Keep = Literal["strip", "all", "none"]
Milliseconds = Annotated[str, Meta(pattern=r"^[0-9]{1,6} ?ms$(?!\n)", examples=["500 ms"])]


class Preview(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a picture is shown while it is made, and what is kept of that."""

    method: Annotated[
        Literal["auto", "taesd", "latent2rgb", "none"],
        Meta(description="taesd: sharp, by a tiny decoder; latent2rgb: small and quick; auto: what suits."),
    ] = "auto"
    every: Annotated[
        Steps | Milliseconds,
        Meta(description='After every so many steps, or, as "500 ms", after so much time at the soonest.'),
    ] = 1
    size: Annotated[
        Annotated[int, Meta(ge=16, le=2048)] | None,
        Meta(description="Pixels of the longer side, at most; null: 512 by taesd, an eighth by latent2rgb."),
    ] = None
    format: Literal["png", "jpeg", "webp"] = "png"
    quality: Annotated[int, Meta(ge=1, le=100, description="Of jpeg and webp; png loses nothing.")] = 85
    keep: Annotated[
        Keep,
        Meta(description="Of each step: strip, a small picture; all, the preview as it was; none, nothing."),
    ] = "strip"


def seconds_between(every: str) -> float:
    """The seconds that a `preview.every` of milliseconds means."""
    return int(every.removesuffix("ms")) / 1000


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job as a person writes it: `{"prompt": "a red fox"}` and, if they like, more."""

    prompt: Annotated[
        Words, Meta(description="What the picture shows: (more), (much more:1.3), [less], of any length.")
    ]
    negative_prompt: Annotated[Text, Meta(description="What it should not show.")] = ""
    width: Annotated[Pixels | None, Meta(description="Pixels; null: the model's own size.")] = None
    height: Annotated[Pixels | None, Meta(description="Pixels; null: the model's own size.")] = None
    steps: Annotated[Steps | None, Meta(description="Sampling steps; null: what suits the model.")] = None
    cfg_scale: Annotated[Scale | None, Meta(description="How closely to follow the prompt.")] = None
    sampler: Annotated[Name | None, Meta(description="As `safelight samplers` lists them.")] = None
    scheduler: Annotated[Name | None, Meta(description="As `safelight samplers` lists them.")] = None
    seed: Annotated[Seed | None, Meta(description="null: drawn, and recorded with the job.")] = None
    count: Annotated[Count, Meta(description="Pictures of it; the seed goes up by one each time.")] = 1
    model: Annotated[Model | None, Meta(description="A name in models/checkpoints.")] = None
    loras: Annotated[
        list[Lora],
        Meta(max_length=20, description="Changes of the model; <lora:NAME:WEIGHT> in the prompt is one too."),
    ] = []
    image: Annotated[
        Place | None, Meta(description="A picture to begin with: in images/, or anywhere within the home.")
    ] = None
    strength: Annotated[
        Strength | None, Meta(description="How far from the image to go: 1 is all the way; null: 0.6.")
    ] = None
    hires: Annotated[SecondPass | None, Meta(description="A second pass at a larger size; null: none.")] = (
        None
    )
    refiner: Annotated[
        Refiner | None, Meta(description="A checkpoint that makes the last steps; null: none.")
    ] = None
    project: Annotated[Project, Meta(description="A word of yours to find the pictures by.")] = "default"
    priority: Annotated[Priority, Meta(description="Higher goes first.")] = 0
    preview: Annotated[Preview, Meta(description="How it is shown while it is made.")] = Preview()


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
    loras: list[Lora] = []
    image: str | None = None
    """Relative to the home."""
    strength: float | None = None
    hires: Hires | None = None
    preview: Preview = Preview()
    refiner: Refiner | None = None


def steps_in_all(prompt: Prompt) -> int:
    """Of both passes."""
    return prompt.steps + (0 if prompt.hires is None else prompt.hires.steps)


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint is best asked for when the prompt does not say."""

    width: int
    height: int
    steps: int
    cfg_scale: float


SDXL_DEFAULTS = Defaults(width=1024, height=1024, steps=OTHERS_STEPS, cfg_scale=6.0)
"""SDXL was trained at 1024² (arXiv 2307.01952, section 2.3)."""
DEMO_DEFAULTS = Defaults(width=256, height=256, steps=USUAL_STEPS[DEMO], cfg_scale=5.0)

T = TypeVar("T")


def parse(data: bytes, model: str, lacks: Lacks = nothing_lacks) -> Prompt | list[Fault]:
    """The one job that some bytes hold, or all that can be known to be wrong with them.

    `model` is the checkpoint's name where the prompt gives none; `lacks` knows the files that there are.
    """
    text = text_of(data, MAX_BYTES)
    if isinstance(text, Fault):
        return [text]
    try:
        return complete(converted(decoded(text), Asked), model, lacks)
    except REFUSALS:
        more = partial(disagreements, lacks=lacks, model=model)
        return diagnose(text, lambda _: Asked, EXAMPLES, OTHER_NAMES, more)


class KeyGivenTwice(ValueError):
    """An object has a key twice; decoders keep the last one in silence."""


class Disagreement(ValueError):
    """Keys that do not go together, such as a sampler and a scheduler, or a file that is not there."""


REFUSALS = (msgspec.DecodeError, KeyGivenTwice, RecursionError, Disagreement)
"""What `decoded`, `converted` and `complete` raise for a text that must be refused."""


def decoded(text: str) -> Any:
    """The value of a JSON text, by the letter of RFC 8259, and with each key once. Raises `REFUSALS`."""
    value = msgspec.json.decode(text)
    # Each key has its colon: no more colons than keys in the value, and none is there twice, and none nested.
    if not isinstance(value, dict) or text.count(":") > len(value):
        _check_keys(text)
    return value


def converted(value: Any, wanted: type[T]) -> T:
    """A decoded value as a `wanted`. Raises `REFUSALS`."""
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError:
        return msgspec.convert(_whole_numbers(value), wanted)


def complete(asked: Asked, model: str, lacks: Lacks = nothing_lacks) -> Prompt:
    """Every default filled in. Raises `Disagreement` for keys that do not go together, and missing files."""
    if not _plain(asked):
        for misfit in disagreements(msgspec.to_builtins(asked), lacks=lacks, model=model):
            raise Disagreement(misfit.message)
        asked = _without_tags(asked)
    choice = choose(asked.sampler, asked.scheduler)
    assert isinstance(choice, Choice), choice
    name = asked.model or model
    given = {key: value for key, value in zip(_KEYS, _values(asked), strict=True) if value is not None}
    defaults = DEMO_DEFAULTS if name == DEMO else SDXL_DEFAULTS
    if asked.image is not None and asked.strength is None:
        given["strength"] = USUAL_STRENGTH
    fields = msgspec.structs.asdict
    known = {**fields(defaults), "seed": None, **given, **fields(choice), "model": name}
    if asked.hires is not None:
        twice = fields(asked.hires)
        known["hires"] = Hires(**{**twice, "steps": asked.hires.steps or known["steps"]})
    return Prompt(**known)


_FREE = {
    "prompt", "negative_prompt", "width", "height", "steps", "cfg_scale", "seed", "count", "model", "project",
    "priority", "preview",
}  # fmt: skip
"""Keys that no rule is about unless another one stands there too, or a mark in the words."""
_ruled = attrgetter(*(name for name in Asked.__struct_fields__ if name not in _FREE))
_MARKS = re.compile(r"[(\[<]|embedding:")


def _plain(asked: Asked) -> bool:
    """Nothing in it is what `disagreements` looks at, as in most: thousands of files a second go here."""
    return not any(_ruled(asked)) and not _MARKS.search(asked.prompt + asked.negative_prompt)


def _without_tags(asked: Asked) -> Asked:
    """`<lora:name:weight>` is no words for the text encoders."""
    words, found = tags.taken(asked.prompt)
    loras = [*asked.loras, *(Lora(name=tag.name, weight=tag.weight) for tag in found)]
    return replace(asked, prompt=words, loras=loras) if found else asked


_KEYS = [name for name in Asked.__struct_fields__ if name in Prompt.__struct_fields__]
_values = attrgetter(*_KEYS)


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1 and len({key for key, _ in pairs}) < len(pairs):
        raise KeyGivenTwice


_check_keys = json.JSONDecoder(object_pairs_hook=_each_once, parse_int=str, parse_float=str).decode


def _whole_numbers(value: Any) -> Any:
    """The same with 30.0 as 30: one number to JSON, and programs whose numbers are all floats write it so."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {key: _whole_numbers(item) for key, item in value.items()}
        case list():
            return [_whole_numbers(item) for item in value]
        case _:
            return value
