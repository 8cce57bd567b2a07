"""A finished picture, or the workflow of one → the prompt that makes it again.  PURE

Read in this order: Safelight's own parameters, A1111's text, ComfyUI's graph. What was found is judged as
a prompt file is; a key that does not pass is left out and named, so that nothing is lost in silence.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from daemon import embeddings, emphasis, parameters, png, sheets, workflow
from daemon.agreement import Lacks, nothing_lacks
from daemon.events.types import Recipe
from daemon.faults import Fault, whole_fault
from daemon.parameters import Carried
from daemon.prompts import Asked, Prompt, parse
from daemon.settings import VERSION
from daemon.sheets import Sheet

KEYWORD = "safelight"
_NOTES = 50
"""Lines of what is not carried over; a graph of thousands of nodes is cut there, and says so."""
_LONG = 300
_SYNTAX = {
    "words that change on the way": re.compile(
        r"(?<!\\)\[[^\[\]\n]{0,200}(:\s*\d*\.?\d+\s*|\|[^\[\]\n]{0,200})\]"
    )
}
"""What A1111 and ComfyUI read as more than words, and we do not."""


def texts(recipe: Recipe) -> list[png.Chunk]:
    """What a finished picture carries: its recipe as JSON, and A1111's text for other programs."""
    own = msgspec.json.encode({"version": VERSION, "recipe": recipe}).decode()
    return [png.international(KEYWORD, own), png.text("parameters", parameters.write(recipe))]


def read(data: bytes, model: str, lacks: Lacks = nothing_lacks) -> Sheet | list[Fault]:
    """What a `.json` file's bytes hold: prompts, or a ComfyUI workflow; or what is wrong with them.

    A file of prompts is not looked at twice; only what is none may be a workflow.
    """
    verdict = sheets.read(data, model, lacks)
    if isinstance(verdict, Sheet):
        return verdict
    graph = _object(data.decode("utf-8-sig", "replace"))
    return of_workflow(graph, model, lacks) if graph is not None and workflow.is_workflow(graph) else verdict


def of_picture(data: bytes, model: str, lacks: Lacks = nothing_lacks) -> Sheet | list[Fault]:
    """The prompt of a PNG, or why it has none. `model` is the checkpoint where the picture names none."""
    try:
        found = png.texts(data)
        carried = _carried(found)
    except png.BadPicture as error:
        return _fault(f"the picture cannot be read: {error}", "Save it again, or write a prompt file.")
    except workflow.Unreadable as error:
        return _unreadable(error)
    if carried is None:
        return _fault(
            "the picture carries no parameters",
            "Pictures by Safelight, A1111 and ComfyUI do, unless a program or a site took them out.",
        )
    return _judged(carried, model, lacks)


def of_workflow(graph: dict[str, Any], model: str, lacks: Lacks = nothing_lacks) -> Sheet | list[Fault]:
    """The prompt of a ComfyUI graph in API format, or why it has none."""
    try:
        return _judged(_of_graph(graph), model, lacks)
    except workflow.Unreadable as error:
        return _unreadable(error)


def _carried(found: dict[str, str]) -> Carried | None:
    if (own := _object(found.get(KEYWORD, ""))) is not None and isinstance(own.get("recipe"), dict):
        prompt = own["recipe"].get("prompt")
        if isinstance(prompt, dict) and all(_is_shallow(value) for value in prompt.values()):
            return Carried(keys=dict(prompt))
    if found.get("parameters", "").strip():
        return _with_syntax(parameters.read(found["parameters"]))
    graph = _object(found.get("prompt", ""))
    if graph is not None and workflow.is_workflow(graph):
        return _of_graph(graph)
    return None


def _of_graph(graph: dict[str, Any]) -> Carried:
    """To ComfyUI square brackets are characters."""
    carried = _with_syntax(workflow.read(graph))
    words = {key: carried.keys[key] for key in ("prompt", "negative_prompt") if key in carried.keys}
    carried.keys |= {key: emphasis.escaped(text) for key, text in words.items()}
    return carried


def _is_shallow(value: object, depth: int = 5) -> bool:
    """Nothing in a prompt is nested deeper; a stranger's text may be, to exhaust a reader."""
    if isinstance(value, dict):
        value = list(value.values())
    return not isinstance(value, list) or (depth > 0 and all(_is_shallow(item, depth - 1) for item in value))


def _with_syntax(carried: Carried) -> Carried:
    """Name what has another meaning there."""
    for key in ("prompt", "negative_prompt"):
        words = carried.keys.get(key, "")
        for name, pattern in _SYNTAX.items():
            if found := pattern.search(words):
                carried.rest.append(f"{name} in the {key.replace('_', ' ')}, as in {found[0]}: read as words")
    return carried


def _judged(carried: Carried, model: str, lacks: Lacks) -> Sheet | list[Fault]:
    """As a prompt file is, but for keys that do not pass: they are left out, one by one, and named."""
    asked = {key: value for key, value in carried.keys.items() if value is not None}
    keys = {key: value for key, value in asked.items() if key in Asked.__struct_fields__}
    unknown = [
        f"{key}: {_shown(value)} (a prompt has no such key)"
        for key, value in asked.items()
        if key not in keys
    ]
    rest = [*carried.rest, *unknown, *_without_learned(keys, lacks)]
    while True:
        verdict = parse(json.dumps(keys).encode(), model, lacks)
        if isinstance(verdict, Prompt):
            return Sheet(prompts=[verdict], not_carried=_brief(rest))
        wrong = {
            sheets.key_of(fault.path.removeprefix("$.")): fault
            for fault in verdict
            if sheets.key_of(fault.path.removeprefix("$.")) in keys
        }
        wrong.pop("prompt", None)
        if not wrong:
            return verdict
        for key, fault in wrong.items():
            rest.append(f"{key}: {_shown(keys.pop(key))} ({fault.message})")


def _without_learned(keys: dict[str, Any], lacks: Lacks) -> Iterator[str]:
    """Take learned words that are not here out of the prompts, and name them. Of more than can be named, as a
    stranger's text may hold, the others are left, for the prompt to be refused by.
    """
    for key in ("prompt", "negative_prompt"):
        if not isinstance(text := keys.get(key), str):
            continue
        looked = ((name, lacks("embedding", name)) for name in embeddings.named(text)[:_NOTES])
        lost = {name: lack.message for name, lack in looked if lack is not None}
        keys[key] = embeddings.without(text, lost)
        yield from (f"embedding:{name} in the {key.replace('_', ' ')} ({why})" for name, why in lost.items())


def _brief(rest: list[str]) -> list[str]:
    cut = [line if len(line) <= _LONG else f"{line[: _LONG - 1]}…" for line in rest]
    return cut if len(cut) <= _NOTES else [*cut[:_NOTES], f"and {len(cut) - _NOTES} more"]


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _object(text: str) -> dict[str, Any] | None:
    """A JSON object, or None."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _unreadable(error: workflow.Unreadable) -> list[Fault]:
    return _fault(
        f"the ComfyUI workflow cannot be made a prompt: {error}",
        "Only the shape of ComfyUI's default text-to-image workflow can.",
    )


def _fault(message: str, suggestion: str) -> list[Fault]:
    return [whole_fault(message, suggestion)]
