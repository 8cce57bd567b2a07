"""What a person may choose when the daemon starts: one frozen struct, read once at the entry.

Only names and places live here. Nothing in this file opens, creates or imports anything of ours.
"""

from pathlib import Path
from typing import Literal

import msgspec

VERSION = "0.1.0"
Precision = Literal["auto", "float16", "bfloat16", "float32"]
"""What a checkpoint's numbers are held in."""
DEMO = "demo"
"""The name of the built-in model."""
BUILT_IN = Path(__file__).parent / "models" / DEMO
"""Its folder, in diffusers' layout like any other checkpoint's."""

_INSTALLED_PAGE = Path(__file__).parent / "static"
PAGE = _INSTALLED_PAGE if _INSTALLED_PAGE.is_dir() else Path(__file__).parent.parent / "static"
"""The viewer's files: inside an installed package, beside it in a checkout."""


class Home(msgspec.Struct, frozen=True):
    """The folder that holds everything a person drops in, gets out, or may want to look at."""

    root: Path

    @property
    def inbox(self) -> Path:
        """Prompt files are dropped here."""
        return self.root / "inbox"

    @property
    def done(self) -> Path:
        """Prompt files that became jobs."""
        return self.root / "done"

    @property
    def rejected(self) -> Path:
        """Prompt files that could not, each with its `.error.json`."""
        return self.root / "rejected"

    @property
    def frames(self) -> Path:
        """Finished pictures, and the previews of those being made."""
        return self.root / "frames"

    @property
    def strips(self) -> Path:
        """The kept steps of each frame's development."""
        return self.root / "strips"

    @property
    def checkpoints(self) -> Path:
        """SDXL checkpoints: folders in diffusers' layout, and single `.safetensors` files."""
        return self.root / "models" / "checkpoints"

    @property
    def images(self) -> Path:
        """Pictures to begin with."""
        return self.root / "images"

    def image(self, name: str) -> Path | None:
        """The picture that a prompt names: in `images`, or by its path within the home. None for one that is
        not there, is no plain file, or lies outside, also by way of a link.
        """
        root = self.root.resolve()
        try:
            for place in (self.images / name, self.root / name):
                real = place.resolve()
                if real.is_relative_to(root) and real.is_file():
                    return real
        except (OSError, ValueError):
            return None  # too long, or with characters that no name can have
        return None

    @property
    def loras(self) -> Path:
        """LoRAs: single `.safetensors` files."""
        return self.root / "models" / "loras"

    def lora(self, name: str) -> Path:
        """Where a LoRA lies, whose ending may be left out."""
        return self.loras / f"{name.removesuffix('.safetensors')}.safetensors"

    @property
    def embeddings(self) -> Path:
        """Learned words: single `.safetensors` files."""
        return self.root / "models" / "embeddings"

    def embedding(self, name: str) -> Path:
        """Where an embedding lies, whose ending may be left out."""
        return self.embeddings / f"{name.removesuffix('.safetensors')}.safetensors"

    @property
    def compiled(self) -> Path:
        """What was compiled for the devices, to be used again."""
        return self.root / "models" / "compiled"

    @property
    def sums(self) -> Path:
        """The SHA-256 of weights, as far as they were worked out."""
        return self.root / "models" / "sums.json"

    @property
    def vae_approx(self) -> Path:
        """Tiny decoders for previews."""
        return self.root / "models" / "vae_approx"

    def checkpoint(self, model: str) -> Path:
        """Where a model lies, but for a `.safetensors` that may be left out: a name in `checkpoints`, or a
        path as `--model` may give.

        `demo` is the built-in model, unless the person keeps one of that name.
        """
        if "/" in model:
            return Path(model).absolute()
        own = self.checkpoints / model
        kept = own.exists() or own.with_name(f"{model}.safetensors").exists()
        return BUILT_IN if model == DEMO and not kept else own

    @property
    def history(self) -> Path:
        """The log and its tables, a DuckDB database."""
        return self.root / "history.duckdb"

    @property
    def segments(self) -> Path:
        """The sealed part of the log, and copies of the rest, for anyone to read."""
        return self.root / "history"

    @property
    def address(self) -> Path:
        """Where the running daemon is to be reached, for the commands."""
        return self.root / "daemon.json"


def resolve(path: Path) -> Path:
    """Where a checkpoint lies: `NAME` may stand for `NAME.safetensors`."""
    file = path.with_name(path.name + ".safetensors")
    return file if not path.exists() and file.is_file() else path


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything `safelight up` can be told."""

    home: Home
    host: str = "127.0.0.1"
    port: int = 8642
    """0 takes any free port."""
    model: str = DEMO
    """The checkpoint of jobs that name none: a name in `models/checkpoints`, or `demo`."""
    device: str = "auto"
    """`cpu`, `cuda:0` …; `auto` takes the first GPU, else the CPU."""
    precision: Precision = "auto"
    """`auto` is float16 on a GPU, float32 on a CPU."""
    compile: bool = False
    """Have the UNet's blocks compiled: minutes at a new size, then faster steps."""
    store_every: float = 5.0
    """Seconds of work that a crash may cost: so often a frame's state is stored."""
    batch: int | None = None
    """Pictures of a megapixel to be made at the same time, at most; None for what suits the device."""
    until_idle: bool = False
    """End once the inbox is empty and every job has ended."""
