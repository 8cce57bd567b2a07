"""The VAE in a precision that it can bear: SDXL's overflows in float16."""

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
        vae.to(
            dtype=torch.float32
        )  # where memory runs out in the middle of it, some parts are and some are not
        yield torch.float32
    finally:
        vae.to(dtype=torch.float16)
