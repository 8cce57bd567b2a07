"""The VAE as it can be borne: in float32, for SDXL's overflows in float16; in tiles, for want of memory."""

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
def tiles(vae: Any, tiled: bool) -> Iterator[None]:
    """Have it work on a piece at a time, if it is to be `tiled`: for less memory, pieces are blended where
    they meet.
    """
    if not tiled:
        yield
        return
    vae.enable_tiling()
    try:
        yield
    finally:
        vae.disable_tiling()
