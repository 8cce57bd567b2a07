"""A frame's development as one moving picture: `python -m daemon.gpu.animation STRIP EPOCH webp|gif MS`.

A process of its own for each, because Pillow stays out of the daemon. The file goes to standard output.
"""

import io
import sys
from pathlib import Path

from PIL import Image

from daemon import strips

LINGER = 15
"""Steps' time for which the last picture stays."""
_QUALITY = 80


def main() -> None:
    """Make one."""
    path, epoch, kind, ms = sys.argv[1:]
    pictures = [strips.read(Path(path), kept) for kept in strips.index(Path(path), epoch)]
    whole = [picture for picture in pictures if picture is not None]
    sys.stdout.buffer.write(animated(whole, kind, int(ms)))


def animated(pictures: list[bytes], kind: str, ms: int) -> bytes:
    """Pictures of any sizes, one after the other, in the size of the largest, for `ms` milliseconds each."""
    images = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures]
    size = max((image.size for image in images), key=lambda size: size[0] * size[1])
    images = [image if image.size == size else image.resize(size, _enlarged(image, size)) for image in images]
    times = [*[ms] * (len(images) - 1), ms * LINGER]
    out = io.BytesIO()
    images[0].save(
        out, kind.upper(), save_all=True, append_images=images[1:], duration=times, loop=0, quality=_QUALITY
    )
    return out.getvalue()


def _enlarged(image: Image.Image, size: tuple[int, int]) -> Image.Resampling:
    """Tiny previews stay the mosaics that they are on the page."""
    return Image.Resampling.NEAREST if size[0] >= 4 * image.width else Image.Resampling.BICUBIC


if __name__ == "__main__":
    main()
