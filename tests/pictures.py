"""Pictures as other programs save them: by Pillow, which A1111 and ComfyUI save with."""

import io
from pathlib import Path

import msgspec
from PIL import Image, PngImagePlugin


def saved(texts: dict[str, str] | None = None, *, compressed: bool = False) -> bytes:
    """A small PNG with these texts."""
    info = PngImagePlugin.PngInfo()
    for keyword, words in (texts or {}).items():
        info.add_text(keyword, words, zip=compressed)
    out = io.BytesIO()
    Image.new("RGB", (16, 8), (200, 30, 20)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def pillow_texts(data: bytes) -> dict[str, str]:
    """The texts of a PNG by Pillow's reading."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return {
        key: str(value)
        for key, value in image.info.items()
        if isinstance(key, str) and isinstance(value, str)
    }


def pixels(data: bytes) -> bytes:
    """The decoded pixels."""
    return Image.open(io.BytesIO(data)).tobytes()


WORKFLOW = (Path(__file__).parent / "workflow.json").read_bytes()
"""ComfyUI's default text-to-image workflow, in API format."""


def graph() -> dict[str, dict[str, object]]:
    """The same, to be changed."""
    return msgspec.json.decode(WORKFLOW, type=dict[str, dict[str, object]])
