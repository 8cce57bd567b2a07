"""What a prompt file may be: one job, `{"defaults": …, "jobs": […]}`, or a job on each line.  PURE

A file is taken whole or refused whole: `read` answers every job in it, or every fault.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from hashlib import sha256
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType, defstruct
from msgspec.structs import replace

from daemon.agreement import Lacks, disagreements, nothing_lacks
from daemon.faults import Fault, at_most, diagnose, fault, text_of
from daemon.misfits import Misfit
from daemon.prompts import (
    EXAMPLES,
    MAX_BYTES,
    OTHER_NAMES,
    REFUSALS,
    Asked,
    Prompt,
    complete,
    converted,
    decoded,
    parse,
)

MAX_JOBS = 1000
"""Jobs in one file: they are recorded in one transaction, and that may not hold up the others for long."""

Key = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        description="A name of yours: a file with a key that was taken before is a duplicate, whatever else.",
    ),
]
SchemaOf = Annotated[str, Meta(description="Where this schema lies; for editors.")]


class Single(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that is one job."""

    key: Key | None = None
    schema: SchemaOf | UnsetType = msgspec.field(default=UNSET, name="$schema")


def _optional(field: msgspec.structs.FieldInfo) -> tuple[str, Any, Any]:
    if field.required:
        return field.name, field.type | UnsetType, UNSET
    made = msgspec.field(default_factory=field.default_factory)
    return field.name, field.type, made if field.default is msgspec.NODEFAULT else field.default


Part = defstruct(
    "Part",
    [_optional(field) for field in msgspec.structs.fields(Asked)],
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    namespace={"__doc__": "A job, or what several have in common: any of its keys."},
)
Jobs = Annotated[
    list[Part],  # type: ignore[valid-type]  # made from `Asked`, so that no key can be forgotten
    Meta(min_length=1, max_length=MAX_JOBS),
]


class Several(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of several jobs, and what they have in common."""

    jobs: Annotated[Jobs, Meta(description="Each is a job; what it says goes before the defaults.")]
    defaults: Annotated[Part, Meta(description="For every key that a job leaves out.")] = Part()  # type: ignore[valid-type]
    key: Key | None = None
    schema: SchemaOf | UnsetType = msgspec.field(default=UNSET, name="$schema")


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """All that a file asks for."""

    prompts: list[Prompt]
    """In their order; at least one."""
    key: str | None = None
    """The name that the person gave the file, if they did."""
    several: bool = False
    """It was written as a list, be it of one."""
    not_carried: list[str] = []
    """Read from a picture or a workflow: what that was made with and a prompt cannot say, in words."""

    @property
    def claim(self) -> str | None:
        """What the key names in the log, whichever way it comes."""
        return None if self.key is None else sha256(f"key {self.key}".encode()).hexdigest()[:16]

    @property
    def priority(self) -> int:
        """That of its most urgent job."""
        return max(prompt.priority for prompt in self.prompts)


def read(
    data: bytes, model: str, lacks: Lacks = nothing_lacks, *, lines: bool = False
) -> Sheet | list[Fault]:
    """The jobs that a file's bytes hold, or all that can be known to be wrong with them.

    `lines`: one job on each line, as in a `.jsonl` file. `model` is the checkpoint of jobs that name none.
    """
    text = text_of(data, MAX_BYTES)
    if isinstance(text, Fault):
        return [text]
    return _read_lines(text, model, lacks) if lines else _read_object(text, model, lacks)


def _read_object(text: str, model: str, lacks: Lacks) -> Sheet | list[Fault]:
    try:
        value = decoded(text)
        if _wanted(value) is Several:
            return _several(value, model, lacks)
        single = converted(value, Single)
        return Sheet(prompts=[complete(single, model, lacks)], key=single.key)
    except REFUSALS:
        return diagnose(text, _wanted, EXAMPLES, OTHER_NAMES, partial(_untyped, lacks=lacks, model=model))


def _wanted(value: Any) -> type[Single | Several]:
    """What a value sets out to be."""
    return Several if isinstance(value, dict) and ("jobs" in value or "defaults" in value) else Single


def _several(value: dict[str, Any], model: str, lacks: Lacks) -> Sheet:
    # Once each by itself, since a job may hide a wrong default; then as what they come to together.
    sheet = converted(value, Several)
    jobs = [converted({**value.get("defaults", {}), **job}, Asked) for job in value["jobs"]]
    return Sheet(prompts=[complete(job, model, lacks) for job in jobs], key=sheet.key, several=True)


def _untyped(value: dict[str, Any], lacks: Lacks, model: str) -> Iterator[Misfit]:
    """What no type knows of: prompts left out of jobs and defaults, keys that do not agree, missing files."""
    yield from _without_prompt(value)
    if _wanted(value) is Single:
        yield from disagreements(value, lacks=lacks, model=model)
    else:
        yield from {misfit.path: misfit for misfit in _disagreeing_jobs(value, lacks, model)}.values()


def _disagreeing_jobs(value: dict[str, Any], lacks: Lacks, model: str) -> Iterator[Misfit]:
    """Each job's misfit where it stands: in the job, or in the defaults that it leaves it to."""
    jobs, defaults = value.get("jobs"), value.get("defaults")
    common = defaults if isinstance(defaults, dict) else {}
    for number, job in enumerate(jobs if isinstance(jobs, list) else []):
        own, path = job if isinstance(job, dict) else {}, f"$.jobs[{number}]"
        for misfit in disagreements({**common, **own}, path, lacks, model):
            rest = misfit.path.removeprefix(f"{path}.")
            yield misfit if key_of(rest) in own else replace(misfit, path=f"$.defaults.{rest}")


def key_of(path: str) -> str:
    """The key that a path within a job is about: `loras[0].name` → `loras`."""
    return path.split(".")[0].split("[")[0]


def _without_prompt(value: dict[str, Any]) -> Iterator[Misfit]:
    """Jobs that have no prompt, neither of their own nor by default."""
    jobs, defaults = value.get("jobs"), value.get("defaults")
    if isinstance(jobs, list) and not (isinstance(defaults, dict) and "prompt" in defaults):
        for number, job in enumerate(jobs):
            if isinstance(job, dict) and "prompt" not in job:
                yield Misfit(path=f"$.jobs[{number}]", message="`prompt` is missing", lacking="prompt")


def _read_lines(text: str, model: str, lacks: Lacks) -> Sheet | list[Fault]:
    lines = text.split("\n")
    read_lines = [
        (number, parse(line.encode(), model, lacks)) for number, line in enumerate(lines) if line.strip()
    ]
    prompts = [verdict for _, verdict in read_lines if isinstance(verdict, Prompt)]
    if len(prompts) < len(read_lines) or not prompts or len(prompts) > MAX_JOBS:
        return _line_faults(text, model, read_lines)
    return Sheet(prompts=prompts, several=True)


def _line_faults(text: str, model: str, lines: Iterable[tuple[int, Prompt | list[Fault]]]) -> list[Fault]:
    if isinstance(_read_object(text, model, nothing_lacks), Sheet) and "\n" in text.strip():
        return [
            fault(text, "$", 0, "one text over many lines", "Name the file .json, or write a job per line.")
        ]
    found = (
        replace(each, line=each.line + number)
        for number, verdict in lines
        if isinstance(verdict, list)
        for each in verdict
    )
    return at_most(found) or [fault(text, "$", 0, f"must have 1 to {MAX_JOBS} jobs", EXAMPLES[""])]
