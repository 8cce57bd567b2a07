"""The files that a picture is made from: which they are, how they lie there now, and their SHA-256.

A frame's stored state is of use only with the very files that it was begun with, which `versions` stands
for; it follows from names, sizes and times alone, because nobody can wait for gigabytes to be read before
a frame begins. The sums are for the record, and may come while the picture is being made.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from daemon.embeddings import named
from daemon.gpu.sums import File, Sums
from daemon.prompts import Prompt
from daemon.settings import Home, resolve


@dataclass(frozen=True)
class Weights:
    """A checkpoint or a LoRA on disk."""

    files: dict[str, File]
    """The files of numbers by their names within the folder, in the order of these; one alone by its own."""
    version: str
    """Another one once any of it changes, configs and tokenizers too; "" where there is nothing."""

    async def sha256(self, sums: Sums) -> str | None:
        """A single file's sum. A folder's is that of the lines `SUM  NAME` that `sha256sum` prints for its
        `PART/*.safetensors`, in the order of their names, by bytes. None for what is not there (any more).
        """
        sums.want(self.files.values())
        known = {name: await sums.of(file) for name, file in self.files.items()}
        if not known or None in known.values():
            return None
        if len(known) == 1 and "/" not in (only := next(iter(known))):
            return known[only]
        lines = "".join(f"{digest}  {name}\n" for name, digest in known.items())
        return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True)
class Sources:
    """What one frame is made from."""

    model: Weights
    loras: list[Weights]
    embeddings: list[Weights]
    image: File | None
    refiner: Weights | None

    @property
    def versions(self) -> list[str]:
        """What a stored state depends on."""
        refiner = "" if self.refiner is None else self.refiner.version
        small = [each.version for each in (*self.loras, *self.embeddings)]
        return [self.model.version, *small, _version([self.image]), refiner]


def look(home: Home, prompt: Prompt) -> Sources:
    """The files that a prompt names, as they are now."""
    return Sources(
        model=checkpoint(home.checkpoint(prompt.model)),
        loras=[_single(home.lora(lora.name)) for lora in prompt.loras],
        embeddings=[_single(home.embedding(name)) for name in named(prompt.prompt, prompt.negative_prompt)],
        image=None if prompt.image is None or (at := home.image(prompt.image)) is None else File.at(at),
        refiner=None if prompt.refiner is None else checkpoint(home.checkpoint(prompt.refiner.model)),
    )


def checkpoint(path: Path) -> Weights:
    """A single file, with the folder of configs that may lie beside it, or a folder."""
    path = resolve(path)
    if not path.is_dir():
        return _single(path, beside=_within(path.with_suffix(".config")))
    every = _within(path)
    weights = {name: file for name, file in every.items() if "/" in name and name.endswith(".safetensors")}
    return Weights(weights, _version(every.values()))


def _single(path: Path, beside: dict[str, File] | None = None) -> Weights:
    file = File.at(path)
    if file is None:
        return Weights({}, "")
    return Weights({path.name: file}, _version([file, *(beside or {}).values()]))


def _within(folder: Path) -> dict[str, File]:
    """The files of a folder in diffusers' layout, two levels deep, without hidden ones."""
    found = {
        path.relative_to(folder).as_posix(): File.at(path)
        for pattern in ("*", "*/*")
        for path in folder.glob(pattern)
    }
    seen = {name: file for name, file in found.items() if file is not None and not _hidden(name)}
    return {name: seen[name] for name in sorted(seen, key=str.encode)}


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _version(files: Iterable[File | None]) -> str:
    return hashlib.sha256(msgspec.json.encode(list(files))).hexdigest()
