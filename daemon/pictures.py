"""The pictures in `frames/`: their names, their going, and the newest previews in memory.

They are written whole (`files.write_whole`): finals fsynced, file and folder, before anyone hears of them;
previews not, since they are gone in a moment anyway and a disk's flush must not hold up the next one.
"""

from collections import OrderedDict
from datetime import datetime
from pathlib import Path

from daemon.files import TEMPORARY

ENDINGS = {"png": "png", "jpeg": "jpg", "webp": "webp"}
"""Of preview files, by format. Finals are PNG."""
_MEDIA = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


def picture_type(data: bytes) -> str:
    """What a browser is to take a preview for, by how it begins."""
    return next(media for begin, media in _MEDIA.items() if data.startswith(begin))


def preview_name(job: int, index: int | None, ts: datetime, format: str) -> str:
    """`task_17_20261124T070000123_preview.png`; `index` tells the pictures of one job apart."""
    stamp = f"{ts:%Y%m%dT%H%M%S}{ts.microsecond // 1000:03d}"
    return "_".join(
        ["task", str(job), stamp, *([] if index is None else [str(index)]), f"preview.{ENDINGS[format]}"]
    )


def final_name(preview: str) -> str:
    """The finished picture's name: the preview's without `_preview`, always a PNG."""
    return preview.rpartition("_preview.")[0] + ".png"


def partial_name(preview: str) -> str:
    """The name of what a stopped frame had become."""
    return preview.rpartition("_preview.")[0] + "_partial.png"


def delete(path: Path) -> None:
    """Have the file gone, whether or not it was there."""
    path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what an interrupted `write` left behind."""
    for temporary in folder.glob(TEMPORARY.format("task_*")):
        delete(temporary)


class Recent:
    """The last few previews of each frame being made, by step, in memory.

    The file on disk is overwritten by each step, so a request for step 3 could find step 4 in it. From here
    a step's picture is exactly that step's, or none.
    """

    KEPT = 16

    def __init__(self) -> None:
        """Empty."""
        self._steps: dict[int, OrderedDict[int, bytes]] = {}

    def put(self, frame: int, step: int, data: bytes) -> None:
        """Keep a step's picture; the oldest of too many goes."""
        steps = self._steps.setdefault(frame, OrderedDict())
        steps[step] = data
        if len(steps) > self.KEPT:
            steps.popitem(last=False)

    def get(self, frame: int, step: int) -> bytes | None:
        """That step's picture, if it is still here."""
        steps = self._steps.get(frame)
        return None if steps is None else steps.get(step)

    def drop(self, frame: int) -> None:
        """Forget a frame that is no longer being made."""
        self._steps.pop(frame, None)
