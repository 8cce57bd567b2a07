"""What the child does when memory runs out in the middle of a frame."""

import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from daemon.gpu import denoise, images, previews, sdxl, view, wire, work
from daemon.gpu.orders import Order
from daemon.prompts import Hires


@pytest.fixture
def order(plain: wire.Begin, folder: Path) -> Order:
    """A small frame of the demo model."""
    return Order(msgspec.structs.replace(plain, model=str(folder)))


def make(order: Order, shelf: sdxl.Shelf) -> tuple[work.Ending, list[wire.Reply]]:
    """Have the order attempted; answers its ending and what was said on the way."""
    said: list[wire.Reply] = []
    with previews.Encoder(said.append) as encoder:
        ((_, ending),) = work.attempt([order], shelf, encoder, said.append)
    return ending, said


def running_out(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, times: int) -> None:
    """Have a function of the loop fail as torch does on a full GPU, so many times before it works."""
    works = getattr(module, name)
    left = times

    def fails(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        if left > 0:
            left -= 1
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return works(*args, **kwargs)

    monkeypatch.setattr(module, name, fails)


@pytest.mark.parametrize("where", ["begin", "predict", "_decode"])
def test_a_frame_is_tried_once_more_with_what_others_held(
    order: Order, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Wherever memory runs out: other checkpoints leave it, every step is shown once, the picture is made."""
    shelf = sdxl.Shelf(torch.device("cpu"))
    whole, _ = make(order, shelf)
    other = shutil.copytree(folder, tmp_path / "other")
    shelf.load(other)
    running_out(monkeypatch, denoise, where, times=1)
    ending, said = make(order, shelf)
    assert isinstance(whole, wire.Final)
    assert isinstance(ending, wire.Final)
    assert ending.pixels_sha256 == whole.pixels_sha256  # a picture this small is one tile
    assert (shelf.find(other), shelf.find(folder) is None) == (None, False)
    steps = [reply.step for reply in said if isinstance(reply, wire.Preview)]
    assert steps == sorted(set(steps))


def test_reading_a_checkpoint_is_tried_once_more(
    order: Order, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was thought to fit beside the others did not: they leave memory, and it is read."""
    shelf = sdxl.Shelf(torch.device("cpu"))
    other = shutil.copytree(folder, tmp_path / "other")
    shelf.load(other)
    running_out(monkeypatch, sdxl, "load", times=1)
    ending, said = make(order, shelf)
    assert isinstance(ending, wire.Final)
    assert shelf.find(other) is None
    (loaded,) = [reply for reply in said if isinstance(reply, wire.Loaded)]
    assert loaded.held == [str(folder)]


def test_a_frame_that_runs_out_twice_fails_with_its_size(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says how large it was and what is free; the next frame is made."""
    shelf = sdxl.Shelf(torch.device("cpu"))
    running_out(monkeypatch, denoise, "_decode", times=2)
    ending, _ = make(order, shelf)
    assert isinstance(ending, wire.Failed)
    assert ending.kind == "out_of_memory"
    assert ending.message.startswith("out of memory making 64 × 64 pixels")
    assert isinstance(make(order, shelf)[0], wire.Final)


@pytest.mark.parametrize("way", ["hires", "image"])
def test_a_picture_too_large_to_be_encoded_whole_is_encoded_in_tiles(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The larger of a second pass, or one to begin with; and the noise is what it would have been."""
    Image.new("RGB", (96, 96), "red").save(tmp_path / "red.png")
    changes: dict[str, dict[str, object]] = {
        "hires": {"hires": Hires(scale=1.5, steps=2, strength=0.5)},
        "image": {"image": str(tmp_path / "red.png"), "strength": 0.5},
    }
    begin = msgspec.structs.replace(order.begin, **changes[way])
    shelf = sdxl.Shelf(torch.device("cpu"))
    whole, _ = make(Order(begin), shelf)
    kind = AutoencoderKL
    works = kind.encode

    def fails_whole(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.use_tiling:
            torch.randn(1, generator=generators[-1])  # what came before it ran out is drawn once more
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return works(self, *args, **kwargs)

    generators: list[torch.Generator] = []
    encode = images.encode

    def noted(checkpoint: Any, image: Any, dtype: Any, generator: torch.Generator, tiled: bool) -> Any:
        generators.append(generator)
        return encode(checkpoint, image, dtype, generator, tiled)

    monkeypatch.setattr(images, "encode", noted)
    monkeypatch.setattr(kind, "encode", fails_whole)
    ending, _ = make(Order(begin), shelf)
    assert isinstance(whole, wire.Final)
    assert isinstance(ending, wire.Final)
    assert ending.pixels_sha256 == whole.pixels_sha256  # a picture this small is one tile


def test_a_preview_for_which_there_is_no_memory_is_left_out(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not worth a frame: the next one is shown."""
    running_out(monkeypatch, view.View, "_taken", times=1)
    ending, said = make(order, sdxl.Shelf(torch.device("cpu")))
    assert isinstance(ending, wire.Final)
    assert 1 not in [reply.step for reply in said if isinstance(reply, wire.Preview)]
    assert ending.width == 64


def test_a_gpu_that_does_not_answer_any_more_ends_the_child(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an illegal access every call fails for good. The frame is not to blame, let alone the next ones:
    they wait for the child's successor.
    """

    def fails(*args: Any, **kwargs: Any) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    shelf = sdxl.Shelf(torch.device("cpu"))
    monkeypatch.setattr(denoise, "predict", fails)
    assert isinstance(make(order, shelf)[0], wire.Failed)  # where it does answer, it was something else
    monkeypatch.setattr(torch.cuda, "synchronize", fails)
    monkeypatch.setattr(shelf, "device", torch.device("cuda:0"))
    with pytest.raises(torch.AcceleratorError, match="illegal"):
        make(order, shelf)


def test_another_fault_is_not_tried_again(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is a bug the first time."""
    calls: list[int] = []

    def fails(*args: Any, **kwargs: Any) -> np.ndarray[Any, Any]:
        calls.append(1)
        raise RuntimeError("expected scalar type Half but found Float")

    monkeypatch.setattr(denoise, "predict", fails)
    ending, _ = make(order, sdxl.Shelf(torch.device("cpu")))
    assert isinstance(ending, wire.Failed)
    assert (ending.kind, len(calls)) == ("internal", 1)


def four(order: Order) -> list[Order]:
    """Orders that differ in their seeds."""
    return [Order(msgspec.structs.replace(order.begin, frame=n, seed=n)) for n in (1, 2, 3, 4)]


def make_all(
    orders: list[Order], said: list[wire.Reply] | None = None, shelf: sdxl.Shelf | None = None
) -> dict[int, work.Ending]:
    """Have orders attempted together; their endings by frame, in the order in which they came."""
    said = [] if said is None else said
    with previews.Encoder(said.append) as encoder:
        made = work.attempt(orders, shelf or sdxl.Shelf(torch.device("cpu")), encoder, said.append)
        return {order.begin.frame: ending for order, ending in made}


def finals(endings: dict[int, work.Ending]) -> dict[int, wire.Final]:
    """All of them."""
    return {frame: ending for frame, ending in endings.items() if isinstance(ending, wire.Final)}


def pixels(final: wire.Final) -> np.ndarray[Any, np.dtype[np.int_]]:
    """Of the picture."""
    return np.asarray(Image.open(io.BytesIO(final.data)), int)


def test_a_batch_that_is_too_large_is_halved_until_it_fits(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every picture is made, as it would have been; those left over come after, and the final says how many
    were made at once.
    """
    whole = finals(make_all(four(order)))
    assert [final.batch for final in whole.values()] == [4, 4, 4, 4]
    works, sizes = denoise.predict, []

    def fails(calls: Sequence[denoise.Call]) -> list[torch.Tensor]:
        sizes.append(len(calls))
        if len(calls) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return works(calls)

    monkeypatch.setattr(denoise, "predict", fails)
    said: list[wire.Reply] = []
    halved = finals(make_all(four(order), said))
    assert sizes[:10] == [4, 4, 2, 2, 1, 1, 2, 2, 1, 1]
    assert set(sizes[10:]) == {1}
    assert list(halved) == [1, 2, 3, 4]
    for frame, final in halved.items():
        assert final.batch == 1
        assert abs(pixels(final) - pixels(whole[frame])).max() <= 2
        steps = [reply.step for reply in said if isinstance(reply, wire.Preview) and reply.frame == frame]
        assert steps == sorted(set(steps))
        assert steps[-1] == 3


def test_how_many_fit_is_learned_once(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next batch of that size does not run out to find it again; one of another size does, and the
    checkpoint forgets it with leaving memory.
    """
    works, sizes, shelf = denoise.predict, [], sdxl.Shelf(torch.device("cpu"))

    def fails(calls: Sequence[denoise.Call]) -> list[torch.Tensor]:
        sizes.append(len(calls))
        if len(calls) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return works(calls)

    def asked(width: int) -> set[int]:
        sizes.clear()
        orders = [Order(msgspec.structs.replace(each.begin, width=width)) for each in four(order)]
        assert len(finals(make_all(orders, shelf=shelf))) == 4
        return set(sizes)

    monkeypatch.setattr(denoise, "predict", fails)
    assert asked(64) == {4, 2}
    assert asked(64) == {2}
    assert asked(128) == {4, 2}
    assert asked(64) == {2}
    shelf.keep_only(Path("another"))
    assert asked(64) == {4, 2}


def test_a_picture_too_large_by_itself_fails_alone(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody shares its memory then, and the others have theirs."""
    monkeypatch.setattr(denoise, "finish", failing_for(4.0, denoise.finish))
    first, second = four(order)[:2]
    second = Order(msgspec.structs.replace(second.begin, cfg_scale=4.0))
    endings = make_all([first, second])
    assert isinstance(endings[1], wire.Final)
    assert isinstance(endings[2], wire.Failed)
    assert endings[2].kind == "out_of_memory"


def failing_for(cfg_scale: float, works: Any) -> Any:
    """A `finish` for which there is never memory in pictures of one guidance."""

    def finish(state: denoise.Denoise, tiled: bool = False) -> Any:
        if state.cfg_scale == cfg_scale:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return works(state, tiled)

    return finish


def test_one_that_stops_leaves_the_others(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a step, and the rest end as they would have; one that is to stop already is not begun."""
    stopped, early, *others = four(order)
    early.stop(keep_partial=False)
    works, sizes = denoise.predict, []

    def predict(calls: Sequence[denoise.Call]) -> list[torch.Tensor]:
        sizes.append(len(calls))
        if len(sizes) == 2:
            stopped.stop(keep_partial=True)
        return works(calls)

    with monkeypatch.context() as patched:
        patched.setattr(denoise, "predict", predict)
        endings = make_all([stopped, early, *others])
    assert sizes == [3, 3, 2]
    assert endings[2] == wire.Cancelled(frame=2, attempt=1, step=0)
    assert isinstance(endings[1], wire.Cancelled)
    assert endings[1].step == 2
    assert endings[1].data is not None
    assert set(finals(endings)) == {3, 4}
    alone = finals(make_all(four(order)[2:]))
    for frame in (3, 4):
        assert abs(pixels(alone[frame]) - pixels(finals(endings)[frame])).max() <= 2


def test_a_stopped_one_is_not_decoded(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor after its last step: nobody wants the picture, and the next frame waits."""
    works, steps = denoise.predict, []

    def predict(calls: Sequence[denoise.Call]) -> list[torch.Tensor]:
        steps.append(1)
        if len(steps) == order.begin.steps:
            order.stop(keep_partial=False)
        return works(calls)

    monkeypatch.setattr(denoise, "predict", predict)
    monkeypatch.setattr(denoise, "decode", lambda *_args: 1 / 0)
    ending, _ = make(order, sdxl.Shelf(torch.device("cpu")))
    assert ending == wire.Cancelled(frame=1, attempt=1, step=3)


def test_pictures_go_in_and_out_in_tiles_where_there_is_no_memory_for_them_whole(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is begun with, the first pass' and its enlargement, and the finished one."""
    Image.new("RGB", (64, 64), "green").save(tmp_path / "it.png")
    both = {
        "image": str(tmp_path / "it.png"),
        "strength": 0.6,
        "hires": Hires(scale=1.5, steps=2, strength=0.5),
    }
    order = Order(msgspec.structs.replace(order.begin, **both))
    whole, _ = make(order, sdxl.Shelf(torch.device("cpu")))
    tried: list[tuple[str, bool]] = []
    for name in ("encode", "decode"):
        monkeypatch.setattr(AutoencoderKL, name, needing_tiles(name, getattr(AutoencoderKL, name), tried))
    ending, said = make(order, sdxl.Shelf(torch.device("cpu")))
    assert isinstance(whole, wire.Final)
    assert isinstance(ending, wire.Final), said
    assert ending.pixels_sha256 == whole.pixels_sha256  # pictures this small are one tile
    ways = ("encode", "decode", "encode", "decode")
    assert [way for way in tried if way[1]] == [(name, True) for name in ways]


def needing_tiles(name: str, works: Any, tried: list[tuple[str, bool]]) -> Any:
    """A method of the VAE for which there is memory in tiles only."""

    def call(vae: Any, *args: Any, **kwargs: Any) -> Any:
        tried.append((name, vae.use_tiling))
        if not vae.use_tiling:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return works(vae, *args, **kwargs)

    return call


@pytest.mark.parametrize(("times", "kept"), [(1, True), (9, False)])
def test_what_there_is_of_a_stopped_one_is_decoded_if_there_is_memory(
    order: Order, monkeypatch: pytest.MonkeyPatch, times: int, kept: bool
) -> None:
    """Tried once more like any picture; it is stopped all the same, and has not failed, without it."""
    works = denoise.predict

    def predict(calls: Sequence[denoise.Call]) -> list[torch.Tensor]:
        order.stop(keep_partial=True)
        return works(calls)

    monkeypatch.setattr(denoise, "predict", predict)
    running_out(monkeypatch, denoise, "_decode", times)
    ending, _ = make(order, sdxl.Shelf(torch.device("cpu")))
    assert isinstance(ending, wire.Cancelled)
    assert ending.step == 1
    assert (ending.data is not None) is kept


def test_a_stopped_one_that_overflowed_is_stopped(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing of it to be kept."""

    def predict(calls: Sequence[denoise.Call]) -> list[torch.Tensor]:
        order.stop(keep_partial=True)
        return [torch.full_like(call.scaled, torch.nan) for call in calls]

    monkeypatch.setattr(denoise, "predict", predict)
    ending, _ = make(order, sdxl.Shelf(torch.device("cpu")))
    assert ending == wire.Cancelled(frame=1, attempt=1, step=1)


def test_prompts_of_other_lengths_take_turns(order: Order) -> None:
    """One of two chunks is made after those of one, since they cannot share a call."""
    orders = four(order)
    orders[1] = Order(msgspec.structs.replace(orders[1].begin, prompt="a fox BREAK snow"))
    made = finals(make_all(orders))
    assert list(made) == [1, 3, 4, 2]
    assert [final.batch for final in made.values()] == [3, 3, 3, 1]


def test_second_passes_go_together_too(order: Order) -> None:
    """One that has a second pass leaves those that have none, and meets its like again at the larger size."""
    twice = Hires(scale=1.5, steps=2, strength=0.5)
    first, second, plain = four(order)[:3]
    large = [Order(msgspec.structs.replace(one.begin, hires=twice)) for one in (first, second)]
    made = finals(make_all([*large, plain]))
    assert {frame: (final.width, final.batch) for frame, final in made.items()} == {
        1: (96, 3), 2: (96, 3), 3: (64, 3),
    }  # fmt: skip
    (alone,) = finals(make_all([Order(large[1].begin)])).values()
    assert abs(pixels(alone) - pixels(made[2])).max() <= 2


def test_a_bad_frame_does_not_harm_its_batch(order: Order, tmp_path: Path) -> None:
    """A file that is not there fails its frame, the rest share the call."""
    orders = four(order)
    bad = wire.Lora(file=str(tmp_path / "gone.safetensors"), weight=1.0)
    orders[0] = Order(msgspec.structs.replace(orders[0].begin, loras=[bad]))
    orders[2] = Order(msgspec.structs.replace(orders[2].begin, image=str(tmp_path / "gone.png")))
    endings = make_all(orders)
    assert [type(endings[frame]).__name__ for frame in (1, 2, 3, 4)] == ["Failed", "Final", "Failed", "Final"]
    assert [final.batch for final in finals(endings).values()] == [2, 2]


def test_a_bug_in_a_shared_call_ends_those_who_shared_it(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is told, and the child goes on."""
    monkeypatch.setattr(denoise, "_led", lambda state, predicted: 1 / 0)
    endings = make_all(four(order))
    assert {type(ending).__name__ for ending in endings.values()} == {"Failed"}
    assert set(endings) == {1, 2, 3, 4}
