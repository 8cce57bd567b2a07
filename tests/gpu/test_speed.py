"""How a device is set to work, and that pictures stay what they are."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from safetensors.torch import save_file

from daemon.gpu import child, denoise, formats, loras, sdxl, speed, wire
from daemon.settings import Home, Precision
from tests.daemons import Daemon

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


def picture(checkpoint: sdxl.Checkpoint, request: wire.Begin) -> formats.Pixels:
    """By our loop."""
    state = denoise.begin(checkpoint, request)
    while state.step < state.steps:
        denoise.step(state)
    return denoise.finish(state)


def test_precision_is_the_devices_own_unless_it_is_chosen() -> None:
    """Whoever chooses gets that, on any device."""
    assert (speed.dtype(GPU, "auto"), speed.dtype(CPU, "auto")) == (torch.float16, torch.float32)
    assert speed.dtype(CPU, "bfloat16") == speed.dtype(GPU, "bfloat16") == torch.bfloat16


CGROUPS = {
    "version 2": ({"cpu.max": "150000 100000\n"}, 1.5),
    "version 2, as much as there is": ({"cpu.max": "max 100000\n"}, math.inf),
    "version 1": ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
    "version 1, as much as there is": (
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        math.inf,
    ),
    "none": ({}, math.inf),
    "nonsense": ({"cpu.max": "much\n"}, math.inf),
}


@pytest.mark.parametrize(("files", "expected"), CGROUPS.values(), ids=CGROUPS)
def test_a_container_may_be_allowed_less_than_it_sees(
    tmp_path: Path, files: dict[str, str], expected: float
) -> None:
    """As the kernel tells it, in either version of its files."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert speed.quota(tmp_path) == expected


def test_threads_are_no_more_than_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """One at least, whatever a container is allowed."""
    allowed = os.sched_getaffinity(0)
    assert 1 <= speed.threads() <= len(allowed)
    assert speed.threads() <= (psutil.cpu_count(logical=False) or len(allowed))
    monkeypatch.setattr(speed, "quota", lambda _folder: 0.3)
    assert speed.threads() == 1


@pytest.fixture
def _settings() -> Iterator[None]:
    """The process's own, put back."""
    threads = torch.get_num_threads()
    products, convolutions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = products, convolutions


@pytest.mark.usefixtures("_settings")
def test_a_process_is_settled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads by our count, unless the person has said how many."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(speed, "threads", lambda: 1)
    torch.set_num_threads(2)
    speed.settle(CPU, "float32", compiles=False)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(2)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    speed.settle(CPU, "auto", compiles=False)
    assert torch.get_num_threads() == 2
    assert speed.describe(torch.bfloat16, compiles=True) == "bfloat16, 2 threads, compiled"


@pytest.mark.usefixtures("_settings")
@pytest.mark.parametrize("wanted", ["float32", "auto"])
def test_32_bits_are_in_full_for_who_asks_for_them(wanted: Precision) -> None:
    """In products and in convolutions, which torch shortens as it comes; by names that all of torch reads."""
    speed.settle(GPU, wanted, compiles=False)
    short = wanted != "float32"
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (short, short)
    assert torch.get_float32_matmul_precision() == ("high" if short else "highest")


@pytest.mark.parametrize("said", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}])
def test_threads_look_a_few_times_before_they_sleep(
    said: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the person has said how they are to wait, by either name."""
    monkeypatch.setattr(os, "environ", dict(said))
    child.spin_briefly()
    ours = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": str(child.SPINS)}
    assert dict(os.environ) == (said or ours)


def test_attention_is_pytorchs_own(checkpoint: sdxl.Checkpoint) -> None:
    """In every layer of the UNet, without our doing."""
    kinds = {type(processor) for processor in checkpoint.pipe.unet.attn_processors.values()}
    assert kinds == {AttnProcessor2_0}


def test_a_cpu_keeps_the_stock_pipelines_bits(folder: Path, plain: wire.Begin) -> None:
    """What is done to a checkpoint there changes none of a picture's."""
    tuned = sdxl.Shelf(CPU).load(folder)
    assert np.array_equal(picture(tuned, plain), picture(sdxl.load(folder, CPU, torch.float32), plain))


def test_there_must_be_something_to_compile_with() -> None:
    """It is said before anything is begun."""
    from torch._inductor import config

    there = {"cpp.cxx": ("no-such-compiler",)}
    with config.patch(there), pytest.raises(speed.CannotCompile, match="no C"):
        speed._find_compiler(CPU)


def test_triton_needs_a_c_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For its launchers: without one every frame would fail."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(speed.CannotCompile, match="no C compiler"):
        speed._find_compiler(GPU)
    (tmp_path / "gcc").touch(0o755)
    speed._find_compiler(GPU)


def _has_compiler() -> bool:
    try:
        speed._find_compiler(CPU)
    except speed.CannotCompile:
        return False
    return True


def simple(folder: Path, into: Path) -> Path:
    """The model with blocks that are compiled at one of its sizes only: each size is compiled anew."""
    library: Any = diffusers
    pipe = library.StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True)
    changes = {
        "down_block_types": ("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 1, 1),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        unet = library.UNet2DConditionModel.from_config({**pipe.unet.config, **changes}).eval()
    pipe.register_modules(unet=unet)
    pipe.save_pretrained(into)
    return into


@pytest.mark.skipif(not _has_compiler(), reason="there is no C++ compiler here")
def test_a_compiled_unet_makes_the_same_picture_but_for_rounding(
    folder: Path, plain: wire.Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told while it is being compiled, once for all blocks of a step. What comes of it lies where it was told
    to; a LoRA that comes later counts all the same.
    """
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    model = simple(folder, tmp_path / "simple")
    told: list[wire.Loading | wire.Compiled] = []
    compiled = sdxl.Shelf(CPU, torch.float32, speed.Compiling(told.append)).load(model)
    own = sdxl.load(model, CPU, torch.float32)
    bare = picture(own, plain)
    assert told == []
    assert abs(picture(compiled, plain).astype(float) - bare).max() <= 2
    assert [type(each) for each in told] == [wire.Loading, wire.Compiled]
    assert abs(picture(compiled, plain).astype(float) - bare).max() <= 2
    assert len(told) == 2
    assert any(tmp_path.rglob("*.so")) or any(tmp_path.rglob("*.cpp"))
    layer = "lora_unet_input_blocks_7_1_transformer_blocks_0_attn2_to_v"
    matrices = {"lora_down.weight": torch.ones(2, 128), "lora_up.weight": torch.eye(96, 2) * 9}
    save_file({f"{layer}.{name}": each for name, each in matrices.items()}, tmp_path / "style.safetensors")
    for each in (compiled, own):
        loras.apply(each, [wire.Lora(file=str(tmp_path / "style.safetensors"), weight=1.0)])
    changed = picture(own, plain)
    assert abs(changed.astype(float) - bare).max() > 10
    assert abs(picture(compiled, plain).astype(float) - changed).max() <= 2
    assert len(told) == 4


def test_precision_is_chosen_at_the_start(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record says in which the picture was made, and how the device was set: threads by its own count."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with Daemon(home, "--precision", "bfloat16") as running:
        running.drop("cat.json", {"prompt": "a cat", "steps": 3, "seed": 1, "width": 64, "height": 64})
        recipe = running.wait_for_type("FinalWritten")["data"]["recipe"]
    assert recipe["dtype"] == "bfloat16"
    assert recipe["work"] == f"bfloat16, {speed.threads()} threads"
