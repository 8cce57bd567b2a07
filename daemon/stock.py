"""The files in a home that a prompt may name: which there are, whether one is there, and what is instead."""

import difflib
from pathlib import Path

import msgspec

from daemon import embeddings, tags
from daemon.agreement import Kind, Lack, Lacks
from daemon.settings import DEMO, Home, resolve

_ENDING = ".safetensors"
_NAMED = 8
"""Names that a suggestion lists at most."""
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


class Stock(msgspec.Struct, frozen=True):
    """What there is to choose from, by the names that a prompt gives it."""

    checkpoints: list[str]
    loras: list[str]
    embeddings: list[str]


def look(home: Home) -> Stock:
    """What is there now. The built-in model is always there."""
    return Stock(
        checkpoints=sorted({DEMO, *_checkpoints(home)}),
        loras=_files(home.loras),
        embeddings=[name for name in _files(home.embeddings) if embeddings.is_name(name)],
    )


def _files(folder: Path) -> list[str]:
    """Those that a prompt can name."""
    return sorted(file.stem for file in folder.glob(f"*{_ENDING}") if tags.is_name(file.stem))


def _checkpoints(home: Home) -> list[str]:
    """Single files, and folders but for those that hold a single file's configs."""
    entries = [entry for entry in home.checkpoints.glob("[!.]*") if entry.suffix != ".config"]
    names = (entry.name.removesuffix(_ENDING) for entry in entries if _is_checkpoint(entry))
    return sorted(name for name in names if tags.is_name(name))


def _is_checkpoint(entry: Path) -> bool:
    return entry.suffix == _ENDING or entry.is_dir()


def lacking(home: Home) -> Lacks:
    """Answers what a home lacks, by looking each time it is asked."""

    def lacks(kind: Kind, name: str) -> Lack | None:
        match kind:
            case "lora":
                return _small(name, home.loras, home.lora(name), "LoRA")
            case "embedding":
                return _small(name, home.embeddings, home.embedding(name), "embedding")
            case "image":
                return _image(home, name)
            case "refiner":
                return _checkpoint(home, name)

    return lacks


def _small(name: str, folder: Path, file: Path, what: str) -> Lack | None:
    """A single file in one of the folders of `models`."""
    if tags.is_name(name) and file.is_file():
        return None
    wanted = name.removesuffix(_ENDING)
    hint = _instead(wanted, _files(folder), f"Put {wanted[:100]}{_ENDING} there.")
    return Lack(f"there is no {what} {name[:100]!r} in models/{folder.name}", hint)


def _checkpoint(home: Home, name: str) -> Lack | None:
    if tags.is_name(name) and resolve(home.checkpoint(name)).exists():
        return None
    there = _checkpoints(home)
    hint = _instead(name.removesuffix(_ENDING), there, "Put it there, a folder or a .safetensors.")
    return Lack(f"there is no checkpoint {name[:100]!r} in models/checkpoints", hint)


def _image(home: Home, name: str) -> Lack | None:
    found = home.image(name)
    if found is None:
        pictures = (file for file in home.images.glob("*") if file.suffix.lower() in _PICTURES)
        names = (file.name for file in pictures)
        there = sorted(name for name in names if name.isprintable())  # bytes of no letter are not
        hint = _instead(name, there, "Put it there, and name it by its name alone.")
        return Lack(f"there is no image {name[:100]!r} in images/, nor elsewhere within the home", hint)
    if found.suffix.lower() not in _PICTURES:
        return Lack(f"the image {name[:100]!r} is none", "PNG, JPEG and WebP can be read.")
    return None


def _instead(wanted: str, there: list[str], otherwise: str) -> str:
    """The nearest name, or those that there are."""
    close = difflib.get_close_matches(wanted[:100], there, n=1, cutoff=0.5)
    if close:
        return f"Did you mean `{close[0]}`?"
    some = ", ".join(there[:_NAMED]) + (" …" if len(there) > _NAMED else "")
    return f"There are {some}." if there else otherwise
