"""Which steps are shown, by which method and how large; TAESD's files are real ones with random weights."""

import dataclasses
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from PIL import Image
from safetensors.torch import save_file

from daemon.gpu import denoise, previews, sdxl, taesd, view, wire, work
from daemon.gpu.orders import Order
from daemon.prompts import Preview
from tests.gpu import pretended
from tests.gpu.pretended import GPU, Event, OnGpu, Pretended, Stream

pytestmark = pytest.mark.usefixtures("one_thread")


def original(seed: int = 1) -> dict[str, torch.Tensor]:
    """TAESD's decoder with random weights, under the keys of its original file (`taesd.py`: a Sequential)."""
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    decoder: Any = taesd._empty()
    torch.random.set_rng_state(state)
    tensors = {key.removeprefix("layers."): value for key, value in decoder.state_dict().items()}
    return {f"{int(key.split('.')[0]) + 1}.{key.partition('.')[2]}": value for key, value in tensors.items()}


def by_hand(tensors: dict[str, torch.Tensor], latent: torch.Tensor) -> torch.Tensor:
    """What the original file's layers make of a latent, 0 … 1, told by their numbers alone."""
    x = torch.tanh(latent / 3) * 3
    for layer in range(1, 20):
        weight = tensors.get(f"{layer}.weight")
        if weight is not None:
            x = torch.nn.functional.conv2d(x, weight, tensors.get(f"{layer}.bias"), padding=1)
        elif f"{layer}.conv.0.weight" in tensors:
            made = x
            for conv in (0, 2, 4):
                kernel, bias = (tensors[f"{layer}.conv.{conv}.{part}"] for part in ("weight", "bias"))
                made = torch.nn.functional.conv2d(made, kernel, bias, padding=1)
                made = made.relu() if conv < 4 else made
            x = (made + x).relu()
        else:
            x = x.relu() if layer == 2 else torch.nn.functional.interpolate(x, scale_factor=2)
    return x


@pytest.fixture
def approx(tmp_path: Path) -> Path:
    """A `vae_approx` folder with a decoder in it."""
    folder = tmp_path / "vae_approx"
    folder.mkdir()
    save_file(original(), folder / "taesdxl_decoder.safetensors")
    return folder


def shown(
    checkpoint: sdxl.Checkpoint, plain: wire.Begin, wish: Preview, approx: Path, **changes: object
) -> tuple[list[wire.Preview], list[str]]:
    """The previews of a frame made as the child makes it, and what was noted."""
    shelf = sdxl.Shelf(checkpoint.device)
    shelf._held[checkpoint.path] = checkpoint
    said: list[wire.Reply] = []
    begin = msgspec.structs.replace(
        plain, model=str(checkpoint.path), preview=wish, vae_approx=str(approx), **changes
    )
    with previews.Encoder(said.append) as encoder:
        ((_, ending),) = work.attempt([Order(begin)], shelf, encoder, said.append)
        assert isinstance(ending, wire.Final)
    notes = [reply.message for reply in said if isinstance(reply, wire.Note)]
    return [reply for reply in said if isinstance(reply, wire.Preview)], notes


@pytest.fixture(scope="module")
def like_sdxl(checkpoint: sdxl.Checkpoint) -> sdxl.Checkpoint:
    """The demo model, taken for one with SDXL's own VAE."""
    return dataclasses.replace(checkpoint, latent2rgb=previews.SDXL)


def test_the_original_files_layers_are_found(approx: Path, tmp_path: Path) -> None:
    """67 tensors go to the layers that they were trained in, from either kind of file, bit for bit."""
    tensors = original()
    assert len(tensors) == 67
    assert sum(tensor.numel() for tensor in tensors.values()) == 1_222_531
    torch.save(tensors, tmp_path / "taesdxl_decoder.pth")
    latent = torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(1))
    expected = by_hand(tensors, latent) * 2 - 1
    for path in (approx / "taesdxl_decoder.safetensors", tmp_path / "taesdxl_decoder.pth"):
        with torch.inference_mode():
            assert torch.allclose(taesd.load(path)(latent), expected, atol=1e-5)


def test_a_diffusers_folder_is_read(tmp_path: Path) -> None:
    """`taesdxl/` as it is published for diffusers."""
    tiny: Any = AutoencoderTiny
    made = tiny()
    made.save_pretrained(tmp_path / "taesdxl")
    found = taesd.find(tmp_path)
    assert found == tmp_path / "taesdxl"
    latent = torch.zeros(1, 4, 2, 2)
    with torch.inference_mode():
        assert torch.equal(taesd.load(found)(latent), made.decoder.eval()(latent))


def test_taesd_is_shown_where_it_is_asked_for(
    like_sdxl: sdxl.Checkpoint, plain: wire.Begin, approx: Path
) -> None:
    """Each step, eight times the latent's size, and every picture another."""
    seen, notes = shown(like_sdxl, plain, Preview(method="taesd"), approx)
    assert not notes
    assert {(each.method, each.width, each.height) for each in seen} == {("taesd", 64, 64)}
    assert seen[-1].step == plain.steps


@pytest.mark.parametrize(
    ("method", "device", "expected"),
    [("auto", "cpu", False), ("auto", "cuda", True), ("taesd", "cpu", True), ("latent2rgb", "cuda", False)],
)
def test_auto_takes_taesd_on_a_gpu_only(method: Any, device: str, expected: bool) -> None:
    """On a CPU it would take longer than a small model's step."""
    assert view.wants_decoder(Preview(method=method), torch.device(device)) is expected


def test_a_decoder_for_other_latents_is_not_used(
    checkpoint: sdxl.Checkpoint, plain: wire.Begin, approx: Path
) -> None:
    """The demo model's VAE is its own: SDXL's decoder would paint wrong colours, and the note says so."""
    seen, notes = shown(checkpoint, plain, Preview(method="taesd"), approx)
    assert {each.method for each in seen} == {"latent2rgb"}
    (note,) = notes
    assert note.startswith("previews use latent2rgb: ")


@pytest.mark.parametrize(
    ("name", "content"),
    [("taesdxl_decoder.safetensors", b"cut off"), ("taesdxl_decoder.pth", b"\x80\x02cos\nsystem\n.")],
)
def test_a_bad_decoder_is_told_and_the_picture_is_made(
    like_sdxl: sdxl.Checkpoint, plain: wire.Begin, tmp_path: Path, name: str, content: bytes
) -> None:
    """Damaged, or a pickle that wants to run something: latent2rgb, and a sentence that names the file."""
    (tmp_path / name).write_bytes(content)
    seen, notes = shown(like_sdxl, plain, Preview(method="taesd"), tmp_path)
    assert {each.method for each in seen} == {"latent2rgb"}
    assert len(notes) == 1
    assert name in notes[0]


def test_a_foreign_decoder_is_told(like_sdxl: sdxl.Checkpoint, plain: wire.Begin, tmp_path: Path) -> None:
    """Sound weights of something else load into nothing."""
    save_file({"1.weight": torch.zeros(3)}, tmp_path / "taesdxl_decoder.safetensors")
    _, notes = shown(like_sdxl, plain, Preview(method="taesd"), tmp_path)
    assert len(notes) == 1


def test_none_means_no_previews(checkpoint: sdxl.Checkpoint, plain: wire.Begin, approx: Path) -> None:
    """And the same picture."""
    assert shown(checkpoint, plain, Preview(method="none"), approx) == ([], [])


@pytest.mark.parametrize(("format", "magic"), [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8"), ("webp", b"RIFF")])
def test_previews_come_in_the_format_asked_for(
    checkpoint: sdxl.Checkpoint, plain: wire.Begin, approx: Path, format: Any, magic: bytes
) -> None:
    """Whole pictures that Pillow reads."""
    seen, _ = shown(checkpoint, plain, Preview(format=format), approx)
    assert all(each.data.startswith(magic) for each in seen)
    assert {Image.open(io.BytesIO(each.data)).size for each in seen} == {(8, 8)}


def test_size_is_the_most_that_a_side_has(
    like_sdxl: sdxl.Checkpoint, plain: wire.Begin, approx: Path
) -> None:
    """Averaged over squares, by either method; larger than the method's own is left as it is."""
    for method, size, expected in (
        ("latent2rgb", 16, (16, 8)), ("latent2rgb", 2048, (32, 16)), ("taesd", 64, (64, 32)),
    ):  # fmt: skip
        wish = Preview(method=method, size=size)  # type: ignore[arg-type]  # a literal
        seen, _ = shown(like_sdxl, plain, wish, approx, width=256, height=128, steps=1)
        assert [(each.width, each.height) for each in seen] == [expected]


def test_pooling_keeps_the_mean() -> None:
    """A latent of 1024 pixels becomes one of 512, each number the mean of four."""
    latent = torch.randn(1, 4, 128, 128, generator=torch.Generator().manual_seed(1))
    small = view.pooled(latent, 64)
    assert small.shape == (1, 4, 64, 64)
    assert np.isclose(small[0, 2, 5, 7].item(), latent[0, 2, 10:12, 14:16].mean().item())
    assert view.pooled(latent, 128) is latent


@pytest.mark.parametrize(
    ("every", "waits", "expected"),
    [
        (1, [0, 0, 0, 0, 0], [1, 2, 3, 4, 5]),
        (2, [0, 0, 0, 0, 0], [2, 4, 5]),
        (9, [0, 0, 0, 0, 0], [5]),
        ("500 ms", [9, 0.1, 0.49, 0.5, 0.1], [1, 4, 5]),
        ("500ms", [9, 0.6, 0.6, 0.1, 0.1], [1, 2, 3, 5]),
    ],
)
def test_every_is_steps_or_time(every: int | str, waits: list[float], expected: list[int]) -> None:
    """After every so many steps, or so much time; the last step always."""
    due = [step for step, waited in enumerate(waits, 1) if view.due(every, step, 5, waited)]
    assert due == expected


def test_steps_between_are_not_counted_as_skipped(
    checkpoint: sdxl.Checkpoint, plain: wire.Begin, approx: Path
) -> None:
    """Skipped are only those that gave way to a newer one."""
    seen, _ = shown(checkpoint, plain, Preview(every=3), approx, steps=7)
    assert sum(1 + each.skipped for each in seen) == 3
    assert seen[-1].step == 7


@pytest.mark.parametrize("method", ["taesd", "latent2rgb"])
def test_on_a_gpu_only_the_encoder_waits(
    method: Any, plain: wire.Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sampler's thread launches the work on a stream of its own, after the step, and the copy; and reads
    nothing. The latent's memory stays until the stream has read it.
    """
    told: list[str] = []
    sampling, side = Stream("the sampler's", told), Stream("previews'", told)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: sampling)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.cuda, "Event", lambda blocking=False: Event(told, blocking))
    latent = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    with Pretended() as gpu:
        decoder = pretended.moved(taesd._empty().eval())
        taesd_, linear = view.by_decoder(decoder, torch.float32), previews.linear(previews.SDXL, GPU)
        there, paint = OnGpu(latent), taesd_ if method == "taesd" else linear
        gpu.waits.clear()
        shown = view.View(plain, method, paint, 8 if method == "taesd" else 1, side)
        shot = shown.shoot(SimpleNamespace(step=1, steps=3), denoise.Denoised(there, 1.0))  # type: ignore[arg-type]
        assert gpu.waits == []
    assert told == [
        "previews' waits for the sampler's",
        "work on previews'",
        "event on previews'",
        "work on the sampler's",
    ]
    assert [each is there for each in side.used] == [True]
    assert shot is not None
    pixels = shot.picture()
    assert told[4:] == ["host sleeps"]
    assert pixels.shape == ((128, 128, 3) if method == "taesd" else (16, 16, 3))
    if method == "latent2rgb":
        assert np.array_equal(pixels, previews.linear(previews.SDXL, torch.device("cpu"))(latent).numpy())
