"""How the VAE is put to work: in a precision that it can bear, as SDXL's overflows in float16, and in tiles
where there is no memory for a whole picture.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def safe_precision(vae: Any, upcast: bool) -> Iterator[torch.dtype]:
    """Hold a float16 VAE in float32 if it is to be `upcast`; gives the dtype to work in."""
    if vae.dtype != torch.float16 or not upcast:
        yield vae.dtype
        return
    try:
        vae.to(dtype=torch.float32)  # within: where memory runs out half way, some parts are and some are not
        yield torch.float32
    finally:
        vae.to(dtype=torch.float16)


@contextmanager
def in_tiles(vae: Any, wanted: bool) -> Iterator[None]:
    """Have it work in tiles, which take less memory and are blended where they meet, if that is `wanted`."""
    if not wanted:
        yield
        return
    vae.enable_tiling()
    try:
        yield
    finally:
        vae.disable_tiling()
