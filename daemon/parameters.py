"""A1111's `parameters` text: written for a finished picture, and read from anyone's.  PURE

The form, as A1111's `infotext_utils` and with it Forge, Civitai and ComfyUI's readers take it: the prompt
over any number of lines; `Negative prompt: ` and more lines; then one line of `Key: value, Key: value`,
in which a value with a comma, a colon or a line break, or that begins as JSON does, stands as a JSON string.
"""

import json
import re
from typing import Any

import msgspec

from daemon import embeddings
from daemon.events.types import Recipe
from daemon.samplers import SAMPLERS
from daemon.settings import VERSION

NEGATIVE = "Negative prompt:"
_FEWEST = 3
"""Pairs that a line must have to be taken for parameters, as in A1111: fewer are part of the prompt."""
_KEYS = {
    "Steps": "steps",
    "Sampler": "sampler",
    "Schedule type": "scheduler",
    "CFG scale": "cfg_scale",
    "Seed": "seed",
    "Model": "model",
}
"""What is carried over as it stands, in the order in which A1111 writes it; `Size` comes after `Seed`."""
_SCHEDULES = {
    "normal": "Normal",
    "simple": "Simple",
    "sgm_uniform": "SGM Uniform",
    "karras": "Karras",
    "exponential": "Exponential",
    "ddim_uniform": "DDIM",
    "beta": "Beta",
}
"""A1111's words for our schedulers."""
_HIRES = {"Hires upscale": "scale", "Hires steps": "steps", "Denoising strength": "strength"}
_UPSCALER = "Lanczos"
"""A1111's word for how a second pass enlarges here."""
_SHORT = 10
"""Digits of a checkpoint's SHA-256 by which A1111 and Civitai know it."""
_LEARNED, _SHORT_LEARNED = "TI hashes", 12
"""The learned words of the prompts, and digits of their files' SHA-256."""
_DIGEST = re.compile(r" *[0-9a-f]+")
_NOT_SETTINGS = {"Version", "App"}
"""Which program wrote the picture says nothing of how it is to be made."""
_NUMBER = re.compile(r"-?\d{1,40}(\.\d{1,20})?(e[+-]?\d{1,3})?", re.ASCII)
_SIZE = re.compile(r"(\d{1,6})\s*[x×]\s*(\d{1,6})", re.ASCII)
_REFINER = re.compile(r"(.{1,200}?)(?: \[[0-9a-f]{10}\])?")
"""A checkpoint's name, which may have brackets too, and by how much of its hash it is known."""
_PLAIN = re.compile(r"""(?![\["{ ])[^,:\n]*(?<! )""")
"""A value that is read as it stands."""
_TAG = re.compile(r"<(lora|lyco|hypernet):([^<>:\n]{1,200})(?::([^<>\n]{0,60}))?>")
_BLANK = re.compile(r"\s*")
_DECODER = json.JSONDecoder()


class Carried(msgspec.Struct):
    """What could be read: keys of a prompt, not yet judged, and in words what has none."""

    keys: dict[str, Any]
    rest: list[str] = msgspec.field(default_factory=list)


def write(recipe: Recipe) -> str:
    """The text of a finished picture."""
    fields = {**msgspec.structs.asdict(recipe.prompt), "seed": recipe.seed}
    tags = [f"<lora:{_field(lora, 'name')}:{_field(lora, 'weight'):g}>" for lora in fields.get("loras") or ()]
    lines = [" ".join([embeddings.bare(recipe.prompt.prompt), *tags])]
    if recipe.prompt.negative_prompt:
        lines.append(f"{NEGATIVE} {embeddings.bare(recipe.prompt.negative_prompt)}")
    pairs = {label: fields.get(key) for label, key in _KEYS.items()}
    model = pairs.pop("Model")
    digest = recipe.model_sha256 and recipe.model_sha256[:_SHORT]
    pairs |= {"Size": f"{fields['width']}x{fields['height']}", "Model hash": digest, "Model": model}
    pairs["Sampler"] = SAMPLERS[recipe.prompt.sampler].label
    pairs["Schedule type"] = _SCHEDULES[recipe.prompt.scheduler]
    pairs["Denoising strength"] = recipe.prompt.strength
    if (hires := recipe.prompt.hires) is not None:
        pairs |= {"Hires upscale": hires.scale, "Hires steps": hires.steps, "Hires upscaler": _UPSCALER}
        pairs["Denoising strength"] = hires.strength
    if (refiner := recipe.prompt.refiner) is not None:
        known = f" [{recipe.refiner_sha256[:_SHORT]}]" if recipe.refiner_sha256 else ""
        pairs |= {"Refiner": f"{refiner.model}{known}", "Refiner switch at": refiner.at}
    learned = embeddings.named(recipe.prompt.prompt, recipe.prompt.negative_prompt)
    sums = zip(learned, recipe.embeddings_sha256, strict=False)  # there are none in recipes from before them
    pairs[_LEARNED] = ", ".join(f"{name}: {digest[:_SHORT_LEARNED]}" for name, digest in sums) or None
    pairs["Version"] = f"Safelight {VERSION}"
    lines.append(
        ", ".join(f"{label}: {_value(value)}" for label, value in pairs.items() if value is not None)
    )
    return "\n".join(lines)


def read(text: str) -> Carried:
    """The keys of a prompt that a text holds; what else it says is named in `rest`."""
    words, settings = _parted(text.replace("\r\n", "\n").split("\n"))
    prompt, negative = _prompts(words)
    carried = Carried(keys={"prompt": prompt})
    if negative:
        carried.keys["negative_prompt"] = negative
    _take_tags(carried)
    settings = _without_learned(carried, settings)
    for label, value in _without_refiner(carried, _without_hires(carried, settings)):
        _take(carried, label, value)
    return carried


def _parted(lines: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The lines of the prompts, and the pairs of the line of parameters.

    That is the last line that begins with `Steps:`, or else the last that has pairs enough. What an
    extension wrote after it is kept as pairs without a key of ours.
    """
    filled = [number for number, line in enumerate(lines) if line.strip()]
    begins = [number for number in filled if lines[number].lstrip().startswith("Steps:")]
    for number in [*begins[::-1], *filled[-1:]]:
        pairs = _pairs(lines[number])
        if len(pairs) >= _FEWEST:
            after = [("after the parameters", line.strip()) for line in lines[number + 1 :] if line.strip()]
            return lines[:number], [*pairs, *after]
    return lines, []


def _prompts(lines: list[str]) -> tuple[str, str]:
    start = next((n for n, line in enumerate(lines) if line.lstrip().startswith(NEGATIVE)), len(lines))
    negative = "\n".join(lines[start:]).lstrip().removeprefix(NEGATIVE)
    return "\n".join(lines[:start]).strip(), negative.strip()


def _pairs(line: str) -> list[tuple[str, str]]:
    """`Key: value` after `Key: value`; a value may be quoted, or JSON that has commas of its own."""
    pairs: list[tuple[str, str]] = []
    offset = 0
    while (colon := line.find(":", offset)) != -1:
        label = line[offset:colon].strip(" ,\t")
        blank = _BLANK.match(line, colon + 1)
        assert blank is not None
        value, offset = _value_at(line, blank.end())
        pairs.append((label, value))
    return pairs


def _value_at(line: str, start: int) -> tuple[str, int]:
    """The value that begins at `start`, and where the next key may begin."""
    if line[start : start + 1] in ('"', "[", "{"):
        try:
            value, end = _DECODER.raw_decode(line, start)
        except (ValueError, RecursionError):
            pass  # an unbalanced quote is part of the value, as in A1111
        else:
            return value if isinstance(value, str) else line[start:end], end
    comma = line.find(",", start)
    end = len(line) if comma == -1 else comma
    return line[start:end].strip(), end + 1


def _take(carried: Carried, label: str, value: str) -> None:
    if label == "Size" and (size := _SIZE.fullmatch(value)):
        carried.keys["width"], carried.keys["height"] = int(size[1]), int(size[2])
    elif label in _KEYS and value and _KEYS[label] not in carried.keys:
        carried.keys[_KEYS[label]] = (
            _number(value) if _NUMBER.fullmatch(value) and label != "Model" else value
        )
    elif label not in _NOT_SETTINGS:
        carried.rest.append(f"{label}: {value}")


def _without_hires(carried: Carried, settings: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The rest of the settings, once those of a second pass are taken together."""
    said = dict(settings)
    if not _NUMBER.fullmatch(said.get("Hires upscale", "")):
        return settings
    taken = {
        label: key
        for label, key in _HIRES.items()
        if _NUMBER.fullmatch(said.get(label, "")) and said[label] != "0"
    }
    carried.keys["hires"] = {key: _number(said[label]) for label, key in taken.items()}
    ours = {*taken, *(["Hires upscaler"] if said.get("Hires upscaler") == _UPSCALER else [])}
    return [(label, value) for label, value in settings if label not in ours]


def _without_learned(carried: Carried, settings: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The rest of the settings, once the words that were learned are named as such in the prompts."""
    listed = {
        name.strip(): entry.strip()
        for entry in dict(settings).get(_LEARNED, "").split(",")
        for name, _, digest in [entry.rpartition(":")]
        if _DIGEST.fullmatch(digest)
    }
    words = {key: carried.keys[key] for key in ("prompt", "negative_prompt") if key in carried.keys}
    carried.keys |= {key: embeddings.mentioned(text, listed) for key, text in words.items()}
    found = embeddings.named(*(carried.keys[key] for key in words))
    if not listed.keys() & set(found):
        return settings
    left = ", ".join(entry for name, entry in listed.items() if name not in found)
    named = ((label, left if label == _LEARNED else value) for label, value in settings)
    return [(label, value) for label, value in named if (label, value) != (_LEARNED, "")]


def _without_refiner(carried: Carried, settings: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The rest of the settings, once those of a refiner are taken together."""
    said = dict(settings)
    named, at = _REFINER.fullmatch(said.get("Refiner", "")), said.get("Refiner switch at", "")
    if not named or not _NUMBER.fullmatch(at):
        return settings
    carried.keys["refiner"] = {"model": named[1], "at": _number(at)}
    return [(label, value) for label, value in settings if label not in ("Refiner", "Refiner switch at")]


def _take_tags(carried: Carried) -> None:
    """LoRA tags out of the prompts: to A1111 they are no words."""
    loras = []
    for key in ("prompt", "negative_prompt"):
        words = carried.keys.get(key, "")
        for kind, name, weight in _TAG.findall(words):
            if kind == "hypernet" or not _NUMBER.fullmatch(weight or "1"):
                carried.rest.append(f"{kind} {name}: {weight}")
            else:
                loras.append({"name": name, "weight": float(weight or 1)})
        if _TAG.search(words):
            carried.keys[key] = re.sub(r" {2,}", " ", _TAG.sub("", words)).strip(" ,")
    if loras:
        carried.keys["loras"] = loras
    if not carried.keys.get("negative_prompt", " "):
        del carried.keys["negative_prompt"]


def _number(text: str) -> int | float:
    return float(text) if "." in text or "e" in text else int(text)


def _value(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _field(lora: Any, name: str) -> Any:
    return lora[name] if isinstance(lora, dict) else getattr(lora, name)
