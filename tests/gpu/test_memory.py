"""How much memory SDXL's own sizes take, reckoned by running its parts on tensors that hold nothing."""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import diffusers
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from daemon.gpu import hardware
from tests.gpu.random_sdxl import WHOLE, config

library: Any = diffusers


class Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]  # half typed
    """Counts the bytes that tensors made under it hold at once, at the most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = 0
        self._now = 0
        self._held: set[int] = set()

    def __torch_dispatch__(
        self,
        call: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Make the call, and count what it answers."""
        answer = call(*args, **(kwargs or {}))
        for each in tree_leaves(answer):
            if isinstance(each, torch.Tensor):
                self._count(each.untyped_storage())
        return answer

    def _count(self, storage: torch.UntypedStorage) -> None:
        name, size = storage._cdata, storage.nbytes()
        if name in self._held:
            return
        self._held.add(name)
        self._now += size
        self.most = max(self.most, self._now)
        weakref.finalize(storage, self._forget, name, size)

    def _forget(self, name: int, size: int) -> None:
        self._held.discard(name)
        self._now -= size


@pytest.fixture(scope="module", autouse=True)
def _nothing() -> Iterator[None]:
    """Tensors that know their shapes alone."""
    with FakeTensorMode(), torch.inference_mode():
        yield


@contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    """Parts are made in this precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def size(part: torch.nn.Module) -> int:
    """Bytes of its parameters."""
    return sum(int(each.nbytes) for each in part.parameters())


def test_a_picture_more_has_room() -> None:
    """What a call of the UNet takes for each guided picture of a megapixel, in half precision."""
    with default(torch.float16):
        unet = library.UNet2DConditionModel.from_config(config("unet", WHOLE)).eval()
        takes = [_call(unet, 2 * pictures) for pictures in (1, 2, 4)]
    assert size(unet) > 4 * 2**30
    assert takes[0] < takes[1] < takes[2]
    assert (takes[2] - takes[1]) / 2 <= hardware.MORE


def _call(unet: Any, rows: int) -> int:
    said = {"text_embeds": torch.empty(rows, 1280), "time_ids": torch.empty(rows, 6)}
    latent, words = torch.empty(rows, 4, 128, 128), torch.empty(rows, 77, 2048)
    with Peak() as peak:
        unet(latent, torch.tensor(500.0), words, added_cond_kwargs=said, return_dict=False)
    return int(peak.most)


def test_one_picture_has_room() -> None:
    """The weights in half precision, and the VAE at work in 32 bits, which takes more than a step does."""
    with default(torch.float32):
        vae = library.AutoencoderKL.from_config(config("vae", WHOLE)).eval()
        latent = torch.empty(1, 4, 128, 128)
        with Peak() as peak:
            vae.decode(latent, return_dict=False)
    with default(torch.float16):
        unet = library.UNet2DConditionModel.from_config(config("unet", WHOLE))
    encoders = (123_060_480 + 694_659_840) * 2  # CLIP ViT-L and OpenCLIP ViT-bigG, in bytes
    assert size(unet) + encoders + size(vae) + peak.most <= hardware.ALONE
