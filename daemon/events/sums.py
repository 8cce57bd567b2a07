"""SHA-256 of files beside them, in `SHA256SUMS`: what `sha256sum --check` reads.

A flipped bit in a Parquet file is read as another number or none, and nobody is told: its pages carry no
checksum. So each sealed segment's sum is listed, and whoever reads a segment can find out in milliseconds
whether it is the file that was sealed. A sum is listed before its file has its name: every segment that
can be seen has one, and a line without a file is a seal that a crash cut short.
"""

import hashlib
import threading
from pathlib import Path

from daemon.files import write_whole

NAME = "SHA256SUMS"

_writing = threading.Lock()


def of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listed(folder: Path) -> dict[str, str]:
    """The sums by file name; a line that makes no sense lists nothing."""
    try:
        text = (folder / NAME).read_text(errors="replace")
    except FileNotFoundError:
        return {}
    lines = (line.partition("  ") for line in text.splitlines())
    return {name: digest for digest, _, name in lines if name}


def enter(folder: Path, name: str, digest: str) -> None:
    """List a file's sum, durably, and drop the lines of files that are gone. Raises OSError."""
    with _writing:
        kept = {old: sum_ for old, sum_ in listed(folder).items() if (folder / old).exists()}
        lines = [f"{sum_}  {old}\n" for old, sum_ in sorted({**kept, name: digest}.items())]
        write_whole(folder / NAME, "".join(lines).encode(), durable=True)
