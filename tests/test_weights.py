"""Weights in the whole daemon: told with their sums, read again once replaced, never mixed in one picture."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from daemon.settings import Home
from tests.conftest import furnished
from tests.daemons import Daemon, dropped, interrupted

QUICK = {"prompt": "a cat", "steps": 4, "seed": 1, "width": 64, "height": 64}
SLOW = {
    **QUICK, "width": 256, "height": 256, "steps": 40,
    "loras": [{"name": "style", "weight": 0.7}], "image": "cat.png", "strength": 0.7,
}  # fmt: skip


def sum_of(folder: Path) -> str:
    """A checkpoint's, by the shell."""
    shell = "export LC_ALL=C; sha256sum */*.safetensors | sha256sum"
    told = subprocess.run(["sh", "-c", shell], cwd=folder, check=True, capture_output=True, text=True)
    return told.stdout.split()[0]


def test_weights_are_told_with_their_sum_which_is_worked_out_once(home: Home) -> None:
    """In ModelLoaded, in the picture's recipe and its A1111 text; the next daemon takes it from the list."""
    expected = sum_of(home.checkpoints / "demo")
    with Daemon(home) as running:
        running.drop("cat.json", QUICK)
        loaded = running.wait_for_type("ModelLoaded")
        final = running.wait_for_type("FinalWritten", after=loaded["seq"])
        assert loaded["data"]["sha256"] == expected
        assert final["data"]["recipe"]["model_sha256"] == expected
        with Image.open(home.root / final["data"]["path"]) as picture:
            assert f"Model hash: {expected[:10]}, Model: demo" in picture.info["parameters"]
        assert running.stop() == 0
    known = json.loads(home.sums.read_text())
    home.sums.write_text(json.dumps([{**line, "sha256": "0" * 64} for line in known]))
    with Daemon(home) as running:
        running.drop("dog.json", {**QUICK, "prompt": "a dog"})
        loaded = running.wait_for_type("ModelLoaded", after=final["seq"])
        assert loaded["data"]["sha256"] not in (expected, None)


def test_a_stop_does_not_wait_for_the_sum(stocked: Home) -> None:
    """Of gigabytes that nobody has read before: ModelLoaded then says that it is not known."""
    with (stocked.checkpoints / "demo" / "tokenizer" / "large.safetensors").open("wb") as file:
        file.truncate(2**36)  # takes no room on the disk, and long to read
    with Daemon(stocked) as running:
        running.drop("cat.json", {**QUICK, "steps": 500})
        seen = running.wait_for_step(2)
        assert running.post(f"api/frames/{seen['data']['frame']}/cancel", {}).status_code == 200
        running.wait_for_type("FrameCancelled")
        assert running.wait_for_type("ModelLoaded")["data"]["sha256"] is None


def replace_lora(home: Home) -> None:
    """The same names and sizes, other numbers."""
    path = home.loras / "style.safetensors"
    save_file({key: -tensor for key, tensor in load_file(path).items()}, path)


def replace_image(home: Home) -> None:
    """Another picture by the same name."""
    Image.new("RGB", (80, 60), (40, 120, 200)).save(home.images / "cat.png")


def replace_model(home: Home) -> None:
    """A checkpoint's UNet trained further, as it were."""
    path = home.checkpoints / "demo" / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["conv_out.weight"] *= 0.8
    save_file(weights, path)


@pytest.fixture
def stocked(home: Home, demo_checkpoint: Path) -> Home:
    """A home with files of its own for all that a prompt can name."""
    return stock(home, demo_checkpoint)


def stock(home: Home, demo_checkpoint: Path) -> Home:
    """Give a home a LoRA, a picture to begin with, and a checkpoint that may be changed."""
    for folder in (home.loras, home.images):
        folder.mkdir(parents=True)
    layer = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_q"
    ones = {
        "lora_down.weight": torch.ones(2, 64),
        "lora_up.weight": torch.ones(64, 2),
        "alpha": torch.ones(()),
    }
    save_file({f"{layer}.{key}": tensor for key, tensor in ones.items()}, home.loras / "style.safetensors")
    Image.new("RGB", (80, 60), (200, 120, 40)).save(home.images / "cat.png")
    (home.checkpoints / "demo").unlink()
    shutil.copytree(demo_checkpoint, home.checkpoints / "demo")
    return home


@pytest.fixture(scope="module")
def storing(tmp_path_factory: pytest.TempPathFactory, demo_checkpoint: Path) -> Iterator[Daemon]:
    """A daemon that stores every step; its stories kill it and start it again, and change its files."""
    home = furnished(tmp_path_factory.mktemp("storing") / "home", demo_checkpoint)
    with Daemon(stock(home, demo_checkpoint), "--store-every", "0") as running:
        yield running


@pytest.mark.parametrize("replace", [replace_lora, replace_image, replace_model])
def test_a_frame_begins_anew_when_a_file_of_its_was_replaced(
    storing: Daemon, replace: Callable[[Home], None]
) -> None:
    """Between a kill and the next start: no picture is made half from one and half from the other, and the
    record names the new one.
    """

    def strike() -> None:
        storing.kill()
        replace(storing.home)
        storing.start()

    disturbed, met = interrupted(storing, replace.__name__, SLOW, 6, strike, stored=1)
    resumed = storing.wait_for_type("FrameResumed", after=met["seq"], frame=disturbed)
    assert resumed["data"]["step"] == 0
    made = storing.wait_for_type("FinalWritten", after=met["seq"], frame=disturbed)["data"]
    _, undisturbed = dropped(storing, f"{replace.__name__}-again.json", SLOW)
    whole = storing.wait_for_type("FinalWritten", frame=undisturbed)["data"]
    assert made["pixels_sha256"] == whole["pixels_sha256"]
    assert sums_in(made) == sums_in(whole)


def test_a_refiner_goes_on_after_a_kill_and_is_in_the_record(storing: Daemon) -> None:
    """Another checkpoint's last steps: the child that read both is killed among them, and the picture is the
    undisturbed one; both are loaded by name, with their sums.
    """
    checkpoints = storing.home.checkpoints
    shutil.copytree(checkpoints / "demo", checkpoints / "other")
    path = checkpoints / "other" / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["conv_out.weight"] *= 0.8
    save_file(weights, path)
    refined = {**SLOW, "refiner": {"model": "other", "at": 0.3}}

    def strike() -> None:
        storing.kill()
        storing.start()

    disturbed, met = interrupted(storing, "refined", refined, 20, strike, stored=13)
    resumed = storing.wait_for_type("FrameResumed", after=met["seq"], frame=disturbed)
    assert resumed["data"]["step"] > 12
    made = storing.wait_for_type("FinalWritten", after=met["seq"], frame=disturbed)
    finals = [
        storing.wait_for_type("FinalWritten", frame=dropped(storing, f"{name}.json", prompt)[1])["data"]
        for name, prompt in (("undisturbed", refined), ("alone", SLOW))
    ]
    whole, alone = finals
    assert made["data"]["pixels_sha256"] == whole["pixels_sha256"] != alone["pixels_sha256"]
    expected = {name: sum_of(checkpoints / name) for name in ("demo", "other")}
    loads = [load for load in storing.wait_for_types("ModelLoaded", made["seq"]) if load["seq"] > met["seq"]]
    assert {load["data"]["model"]: load["data"]["sha256"] for load in loads} == expected
    assert (whole["recipe"]["refiner_sha256"], alone["recipe"]["refiner_sha256"]) == (expected["other"], None)


def sums_in(final: dict[str, Any]) -> list[Any]:
    """Of everything that the picture was made from."""
    return [final["recipe"][f"{name}_sha256"] for name in ("model", "loras", "image")]


def test_a_warm_checkpoint_that_was_replaced_is_read_again(stocked: Home) -> None:
    """Under one running daemon: the next picture is by the new weights, and says so."""
    with Daemon(stocked) as running:
        finals = []
        for number in (1, 2):
            running.drop(f"{number}.json", QUICK)
            finals.append(running.wait_for_type("FinalWritten", frame=number))
            replace_model(stocked)
    (first, second) = (final["data"] for final in finals)
    assert first["pixels_sha256"] != second["pixels_sha256"]
    assert first["recipe"]["model_sha256"] != second["recipe"]["model_sha256"]
