"""LoRAs change the picture by their weight, together or alone, and leave nothing behind."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from daemon.gpu import denoise, loras, sdxl, wire
from tests.gpu import original

pytestmark = pytest.mark.usefixtures("one_thread")

Tensors = dict[str, torch.Tensor]
RANK = 4


@pytest.fixture(scope="module")
def model(folder: Path) -> sdxl.Checkpoint:
    """A demo model of this file's own, since LoRAs are loaded into it."""
    return sdxl.load(folder, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def trained(folder: Path) -> Tensors:
    """A LoRA as a trainer with peft has it, in all three parts: `unet.….lora_A.weight` …"""
    parts = sdxl.load(folder, torch.device("cpu"), torch.float32).pipe
    layers = {
        "unet": ["attn2.to_q", "attn2.to_v", "proj_in", "conv1", "ff.net.2"],
        "text_encoder": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
        "text_encoder_2": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
    }
    tensors: Tensors = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        for part, names in layers.items():
            module = getattr(parts, part)
            module.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=names))
            for key, tensor in get_peft_model_state_dict(module).items():
                tensors[f"{part}.{key}"] = 0.3 * torch.randn_like(tensor)
    return tensors


def kohya(tensors: Tensors, alpha: float) -> Tensors:
    """The same by kohya's names: SDXL's blocks as in the original layout, `down`, `up` and `alpha`."""
    renamed: Tensors = {}
    for key, tensor in tensors.items():
        part, _, rest = key.partition(".")
        layer, which = re.fullmatch(r"(.*)\.lora_(A|B)\.weight", rest).groups()  # type: ignore[union-attr]  # it is
        if part != "unet":
            layer = f"text_model.{layer.removeprefix('text_model.')}"
        else:
            layer = original.unet_name(f"{layer}.weight").removesuffix(".weight")
        prefix = {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}[part]
        name = f"{prefix}_{layer.replace('.', '_')}"
        renamed[f"{name}.lora_{'down' if which == 'A' else 'up'}.weight"] = tensor.clone()
        renamed[f"{name}.alpha"] = torch.tensor(alpha)
    return renamed


@pytest.fixture(scope="module")
def style(trained: Tensors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The LoRA in a file, by peft's names."""
    path = tmp_path_factory.mktemp("loras") / "style.safetensors"
    save_file(trained, path)
    return path


@pytest.fixture(scope="module")
def other(trained: Tensors, style: Path) -> Path:
    """Another one, of the UNet alone."""
    path = style.with_name("other.safetensors")
    save_file({key: tensor.flip(0).contiguous() for key, tensor in trained.items() if "unet" in key}, path)
    return path


def latent(model: sdxl.Checkpoint, plain: wire.Begin, *wanted: tuple[Path, float]) -> torch.Tensor:
    """The last latent of a small picture with some LoRAs."""
    loras.apply(model, [wire.Lora(file=str(path), weight=weight) for path, weight in wanted])
    state = denoise.begin(model, msgspec.structs.replace(plain, width=32, height=32))
    while state.step < state.steps:
        denoise.step(state)
    return state.latent


def test_a_lora_changes_the_picture_by_its_weight_and_leaves_no_trace(
    model: sdxl.Checkpoint, plain: wire.Begin, style: Path, other: Path
) -> None:
    """Each weight and each set another picture; weight 0 and none at all the original's very bits."""
    bare = latent(model, plain)
    one, half = latent(model, plain, (style, 1.0)), latent(model, plain, (style, 0.5))
    both = latent(model, plain, (style, 1.0), (other, 0.7))
    assert len({made.numpy().tobytes() for made in (bare, one, half, both)}) == 4
    assert torch.equal(latent(model, plain, (style, 0.0)), bare)
    assert torch.equal(latent(model, plain, (style, 1.0), (other, 0.0)), one)
    assert torch.equal(latent(model, plain, (other, 0.7), (style, 1.0)), both)
    assert torch.equal(latent(model, plain), bare)
    assert torch.equal(latent(model, plain, (style, 1.0)), one)


def test_it_is_what_the_weights_would_be_with_it_added(
    model: sdxl.Checkpoint, plain: wire.Begin, folder: Path, trained: Tensors, style: Path
) -> None:
    """W + w · B A, computed here and put into a second checkpoint, makes the same picture."""
    wanted = merged(folder, plain, trained, lambda layer: 0.8)
    torch.testing.assert_close(latent(model, plain, (style, 0.8)), wanted, rtol=1e-3, atol=1e-3)


def test_kohyas_names_mean_the_same(
    model: sdxl.Checkpoint, plain: wire.Begin, trained: Tensors, style: Path, tmp_path: Path
) -> None:
    """A file with `lora_unet_…`, `lora_te1_…` and `lora_te2_…` makes the picture of peft's, to the bit; half
    the `alpha` is half the weight.
    """
    save_file(kohya(trained, RANK), tmp_path / "kohya.safetensors")
    save_file(kohya(trained, RANK / 2), tmp_path / "half.safetensors")
    assert torch.equal(
        latent(model, plain, (tmp_path / "kohya.safetensors", 1.0)), latent(model, plain, (style, 1.0))
    )
    assert torch.equal(
        latent(model, plain, (tmp_path / "half.safetensors", 1.0)), latent(model, plain, (style, 0.5))
    )


def merged(folder: Path, plain: wire.Begin, trained: Tensors, scale: Callable[[str], float]) -> torch.Tensor:
    """The last latent of a checkpoint whose weights have it added, each layer times its `scale`."""
    model = sdxl.load(folder, torch.device("cpu"), torch.float32)
    for key in [key for key in trained if key.endswith("lora_A.weight")]:
        part, _, layer = key.removesuffix(".lora_A.weight").partition(".")
        weight = getattr(model.pipe, part).get_submodule(layer).weight
        down, up = trained[key].flatten(1), trained[key.replace("lora_A", "lora_B")].flatten(1)
        with torch.no_grad():
            weight += scale(layer) * (up @ down).reshape(weight.shape)
    return latent(model, plain)


def test_each_layer_has_its_own_alpha(
    model: sdxl.Checkpoint, plain: wire.Begin, folder: Path, trained: Tensors, tmp_path: Path
) -> None:
    """As trainers give convolutions another one than the rest, and some layers none, whose scale is 1; in
    the UNet and in the text encoders.
    """
    file = kohya(trained, RANK / 4)
    for key in [key for key in file if key.endswith(".alpha")]:
        if "to_q" in key or "fc1" in key:
            file[key] = torch.tensor(RANK / 2)
        elif "in_layers" in key or "out_proj" in key:
            del file[key]

    def scale(layer: str) -> float:
        if layer.endswith(("to_q", "fc1")):
            return 0.5
        return 1.0 if layer.endswith(("conv1", "out_proj")) else 0.25

    path = tmp_path / "mixed.safetensors"
    save_file(file, path)
    wanted = merged(folder, plain, trained, scale)
    torch.testing.assert_close(latent(model, plain, (path, 1.0)), wanted, rtol=1e-3, atol=2e-3)


def test_numbers_of_eight_bits_are_scaled_too(
    model: sdxl.Checkpoint, plain: wire.Begin, trained: Tensors, tmp_path: Path
) -> None:
    """torch multiplies none of them, but half precision holds each."""
    narrow = {key: tensor.to(torch.float8_e4m3fn) for key, tensor in trained.items()}
    files = {"narrow": narrow, "wide": {key: tensor.float() for key, tensor in narrow.items()}}
    made = {}
    for name, tensors in files.items():
        path = tmp_path / f"{name}.safetensors"
        save_file(kohya(tensors, 1.0), path)
        made[name] = latent(model, plain, (path, 1.0))
    assert torch.equal(made["narrow"], made["wide"])


@pytest.mark.parametrize("rooted", [False, True])
def test_diffusers_files_tell_their_alpha_beside_the_weights(
    model: sdxl.Checkpoint, plain: wire.Begin, folder: Path, trained: Tensors, tmp_path: Path, rooted: bool
) -> None:
    """Its training scripts save what peft was told as JSON in the file's header."""
    told = {"unet.r": RANK, "unet.lora_alpha": 1, "unet.alpha_pattern": {"attn2.to_q": 2}} | (
        {"unet.use_rslora": True} if rooted else {}
    )
    tensors = {key: tensor for key, tensor in trained.items() if key.startswith("unet")}
    path = tmp_path / "told.safetensors"
    save_file(tensors, path, {"format": "pt", "lora_adapter_metadata": json.dumps(told)})
    by = RANK**0.5 if rooted else RANK
    wanted = merged(folder, plain, tensors, lambda layer: (2 if layer.endswith("attn2.to_q") else 1) / by)
    torch.testing.assert_close(latent(model, plain, (path, 1.0)), wanted, rtol=1e-3, atol=2e-3)


def test_it_is_read_once_and_again_when_its_file_has_changed(
    model: sdxl.Checkpoint,
    plain: wire.Begin,
    trained: Tensors,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cache knows a file by more than its name; the oldest leave it, and can come back."""
    path = tmp_path / "changing.safetensors"
    save_file(trained, path)
    reads: list[Path] = []
    read = loras._read

    def counted(checkpoint: sdxl.Checkpoint, file: Path, name: str) -> None:
        reads.append(file)
        read(checkpoint, file, name)

    monkeypatch.setattr(loras, "_read", counted)
    first = latent(model, plain, (path, 1.0))
    assert torch.equal(latent(model, plain, (path, 1.0)), first)
    assert len(reads) == 1
    path.unlink()
    save_file({key: 0.5 * tensor for key, tensor in trained.items()}, path)
    assert not torch.equal(latent(model, plain, (path, 1.0)), first)
    assert len(reads) == 2
    monkeypatch.setattr(loras, "KEPT", 1)
    path.unlink()
    save_file(trained, path)
    assert torch.equal(latent(model, plain, (path, 1.0)), first)
    assert len(model.adapters) == 1


def truncated(path: Path, trained: Tensors) -> None:
    """A download that broke off."""
    save_file(trained, path)
    path.write_bytes(path.read_bytes()[:-100])


FOREIGN: dict[str, tuple[Callable[[Path, Tensors], object], str]] = {
    "missing": (lambda path, trained: None, "cannot be read: No such file"),
    "cut off": (truncated, "damaged or cut off"),
    "no safetensors": (lambda path, trained: path.write_bytes(b"PK\x03\x04" * 50), "damaged or cut off"),
    "no LoRA": (lambda path, trained: save_file({"a.weight": torch.ones(2)}, path), "no LoRA"),
    "another model's": (
        lambda path, trained: save_file({key: torch.ones(RANK, 7) for key in trained}, path),
        "size mismatch|cannot be used",
    ),
    "of some layers that are not there": (
        lambda path, trained: save_file(
            trained
            | {
                "unet.nowhere.lora_A.weight": torch.ones(RANK, 7),
                "unet.nowhere.lora_B.weight": torch.ones(7, RANK),
            },
            path,
        ),
        "layers have a place",
    ),
    "of layers that are not there": (
        lambda path, trained: save_file({"unet.nowhere.lora_A.weight": torch.ones(RANK, 7)}, path),
        "cannot be used",
    ),
    "with layers of another kind": (
        lambda path, trained: save_file(
            kohya(trained, 1.0) | {"lora_unet_mid.lora_mid.weight": torch.ones(2)}, path
        ),
        "115 of its 116 layers have a place in the checkpoint; lora_unet_mid has none",
    ),
    "without a second matrix": (
        lambda path, trained: save_file(
            {"lora_unet_input_blocks_1_0_in_layers_2.lora_down.weight": torch.ones(RANK, 48, 3, 3)}, path
        ),
        r"it lacks 'lora_unet_input_blocks_0_.*in_layers_2\.lora_up\.weight'",
    ),
    "whose header is no JSON": (
        lambda path, trained: save_file(trained, path, {"lora_adapter_metadata": "{alpha}"}),
        "what its header says of its alphas cannot be read",
    ),
    "whose header lists nothing by name": (
        lambda path, trained: save_file(trained, path, {"lora_adapter_metadata": "null"}),
        "what its header says of its alphas cannot be read",
    ),
    "with a number that is none": (
        lambda path, trained: save_file(
            {
                key: tensor * (torch.nan if key.endswith("fc1.lora_A.weight") else 1)
                for key, tensor in trained.items()
            },
            path,
        ),
        "numbers that are none .NaN or infinity., in text_encoder",
    ),
    "of a kind that nobody shares": (
        lambda path, trained: save_file(
            {"lora_unet_mid_block_resnets_0_conv1.oft_blocks": torch.ones(2)}, path
        ),
        "changes of a kind that is not known here .oft_blocks.",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_that_is_no_lora_for_it_is_named_and_leaves_nothing_behind(
    model: sdxl.Checkpoint, plain: wire.Begin, trained: Tensors, tmp_path: Path, kind: str
) -> None:
    """One sentence, and the next picture is what it always was."""
    bare = latent(model, plain)
    make, sentence = FOREIGN[kind]
    make(tmp_path / "foreign.safetensors", trained)
    with pytest.raises(loras.BadLora, match=sentence) as caught:
        latent(model, plain, (tmp_path / "foreign.safetensors", 1.0))
    assert str(tmp_path / "foreign.safetensors") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert torch.equal(latent(model, plain), bare)
