"""LyCORIS' kinds and DoRA change the weights as their papers say, together with LoRAs or alone, and the
checkpoint's own numbers come back.
"""

import hashlib
import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lycoris import LycorisNetwork, create_lycoris
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from daemon.gpu import differences, loras, sdxl, wire
from daemon.gpu.sgm import layer_name
from tests.small_model import PROJECTION

pytestmark = pytest.mark.usefixtures("one_thread")

Tensors = dict[str, torch.Tensor]
LINEAR = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_q"
CONVOLUTION = "down_blocks.0.resnets.1.conv1"
NORM = "down_blocks.0.resnets.0.norm1"
RANK, ALPHA = 4, 2.0


@pytest.fixture(scope="module")
def model(folder: Path) -> sdxl.Checkpoint:
    """A small model of this file's own, since its weights are changed."""
    return sdxl.load(folder, torch.device("cpu"), torch.float32)


def numbers(*shape: int, seed: int = 1) -> torch.Tensor:
    """Small random ones."""
    return 0.2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 100 * len(shape)))


def weight_of(model: sdxl.Checkpoint, layer: str, which: str = "weight") -> torch.Tensor:
    """Of one of the UNet's layers, as it is now."""
    module = model.pipe.unet.get_submodule(layer)
    tensor: torch.Tensor = getattr(getattr(module, "base_layer", module), which)
    return tensor.detach().clone()


def bits(model: sdxl.Checkpoint) -> str:
    """A sum over all weights of the parts that LoRAs change, by whatever name peft has given them."""
    found = hashlib.sha256()
    for part in (model.pipe.unet, model.pipe.text_encoder, model.pipe.text_encoder_2):
        for name, tensor in part.state_dict().items():
            if ".lora_" not in name:
                found.update(tensor.numpy().tobytes())
    return found.hexdigest()


def apply(model: sdxl.Checkpoint, *wanted: tuple[Path, float]) -> None:
    """As a frame asks for them."""
    loras.apply(model, [wire.Lora(file=str(path), weight=weight) for path, weight in wanted])


def saved(path: Path, layers: dict[str, Tensors]) -> Path:
    """A file with these changes of layers, by kohya's names in SDXL's original layout."""
    tensors = {
        f"lora_unet_{(layer_name(layer) or '').replace('.', '_')}.{key}": tensor
        for layer, keys in layers.items()
        for key, tensor in keys.items()
    }
    save_file(tensors, path)
    return path


def loha(rows: int, columns: int) -> tuple[Tensors, torch.Tensor]:
    """FedPara's product of two products (Hyeon-Woo et al. 2021, 2108.06098), and what it is."""
    keys = {
        "hada_w1_a": numbers(rows, RANK, seed=1), "hada_w1_b": numbers(RANK, columns, seed=2),
        "hada_w2_a": numbers(rows, RANK, seed=3), "hada_w2_b": numbers(RANK, columns, seed=4),
    }  # fmt: skip
    products = (keys["hada_w1_a"] @ keys["hada_w1_b"]) * (keys["hada_w2_a"] @ keys["hada_w2_b"])
    return keys | {"alpha": torch.tensor(ALPHA)}, products * ALPHA / RANK


def lokr(rows: int, columns: int) -> tuple[Tensors, torch.Tensor]:
    """A Kronecker product of which the larger factor is a product itself."""
    first = numbers(4, 4, seed=5)
    up, down = numbers(rows // 4, RANK, seed=6), numbers(RANK, columns // 4, seed=7)
    keys = {"lokr_w1": first, "lokr_w2_a": up, "lokr_w2_b": down, "alpha": torch.tensor(ALPHA)}
    return keys, torch.kron(first, up @ down) * ALPHA / RANK


def lokr_whole(rows: int, columns: int) -> tuple[Tensors, torch.Tensor]:
    """Both factors whole: there is no rank then, and alpha says nothing."""
    first, second = numbers(4, 4, seed=5), numbers(rows // 4, columns // 4, seed=8)
    return {"lokr_w1": first, "lokr_w2": second, "alpha": torch.tensor(ALPHA)}, torch.kron(first, second)


def difference(rows: int, columns: int) -> tuple[Tensors, torch.Tensor]:
    """All of it."""
    tensor = numbers(rows, columns, seed=9)
    return {"diff": tensor}, tensor


def pair(rows: int, columns: int) -> tuple[Tensors, torch.Tensor]:
    """A LoRA's two matrices, in a file that has other kinds as well."""
    up, down = numbers(rows, RANK, seed=10), numbers(RANK, columns, seed=11)
    return {"lora_up.weight": up, "lora_down.weight": down}, up @ down


KINDS: dict[str, Callable[[int, int], tuple[Tensors, torch.Tensor]]] = {
    "LoHa": loha, "LoKr": lokr, "LoKr of whole factors": lokr_whole, "difference": difference, "pair": pair,
}  # fmt: skip


@pytest.mark.parametrize("weight", [1.0, -0.4])
@pytest.mark.parametrize("kind", KINDS)
def test_a_linear_layer_is_changed_by_its_formula(
    model: sdxl.Checkpoint, tmp_path: Path, kind: str, weight: float
) -> None:
    """W + w · ΔW; a file without the layer, or the weight 0, is the checkpoint's own."""
    apply(model)
    before, own = bits(model), weight_of(model, LINEAR)
    keys, wanted = KINDS[kind](*own.shape)
    norm = numbers(*weight_of(model, NORM).shape)
    path = saved(tmp_path / "changes.safetensors", {LINEAR: keys, NORM: {"w_norm": norm, "b_norm": 2 * norm}})
    norms = [weight_of(model, NORM, which) for which in ("weight", "bias")]
    apply(model, (path, weight))
    torch.testing.assert_close(weight_of(model, LINEAR), own + weight * wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weight_of(model, NORM), norms[0] + weight * norm)
    torch.testing.assert_close(weight_of(model, NORM, "bias"), norms[1] + 2 * weight * norm)
    apply(model, (path, 0.0))
    assert bits(model) == before


def test_a_difference_and_a_pair_for_one_layer_are_both_added(model: sdxl.Checkpoint, tmp_path: Path) -> None:
    """None is passed over in silence."""
    apply(model)
    own = weight_of(model, LINEAR)
    (whole, first), (matrices, second) = difference(*own.shape), pair(*own.shape)
    apply(model, (saved(tmp_path / "both.safetensors", {LINEAR: whole | matrices}), 1.0))
    torch.testing.assert_close(weight_of(model, LINEAR), own + first + second, rtol=1e-5, atol=1e-6)


def tucker(rows: int, columns: int) -> tuple[Tensors, torch.Tensor]:
    """A convolution's core with a matrix on either side, as LoCon has it."""
    up, down, core = numbers(rows, RANK, 1, 1), numbers(RANK, columns, 1, 1), numbers(RANK, RANK, 3, 3)
    change = torch.einsum("or,rsyx,si->oiyx", up.flatten(1), core, down.flatten(1))
    keys = {"lora_up.weight": up, "lora_down.weight": down, "lora_mid.weight": core}
    return keys | {"alpha": torch.tensor(ALPHA)}, change * ALPHA / RANK


def loha_tucker(rows: int, columns: int) -> tuple[Tensors, torch.Tensor]:
    """The same twice, multiplied."""
    sides = [
        (numbers(RANK, RANK, 3, 3, seed=n), numbers(RANK, rows, seed=n), numbers(RANK, columns, seed=n + 1))
        for n in (1, 3)
    ]
    (t1, a1, b1), (t2, a2, b2) = sides
    keys = {
        "hada_t1": t1, "hada_w1_a": a1, "hada_w1_b": b1, "hada_t2": t2, "hada_w2_a": a2, "hada_w2_b": b2,
    }  # fmt: skip
    first, second = (torch.einsum("rsyx,ro,si->oiyx", *side) for side in sides)
    return keys | {"alpha": torch.tensor(ALPHA)}, first * second * ALPHA / RANK


@pytest.mark.parametrize("make", [tucker, loha_tucker])
def test_a_convolution_is_changed_by_tuckers_form(
    model: sdxl.Checkpoint, tmp_path: Path, make: Callable[[int, int], tuple[Tensors, torch.Tensor]]
) -> None:
    """Three by three, with the bias left alone."""
    apply(model)
    own, bias = weight_of(model, CONVOLUTION), weight_of(model, CONVOLUTION, "bias")
    keys, wanted = make(*own.shape[:2])
    apply(model, (saved(tmp_path / "tucker.safetensors", {CONVOLUTION: keys}), 0.5))
    torch.testing.assert_close(weight_of(model, CONVOLUTION), own + 0.5 * wanted, rtol=1e-5, atol=1e-6)
    assert torch.equal(weight_of(model, CONVOLUTION, "bias"), bias)


@pytest.mark.parametrize("axis", ["of each row", "of each column"])
@pytest.mark.parametrize("layer", [LINEAR, CONVOLUTION])
@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_dora_has_the_lengths_that_it_learned(
    model: sdxl.Checkpoint, tmp_path: Path, layer: str, axis: str, weight: float
) -> None:
    """Each row or column of the changed weight points where ΔW turned it, and is as long as its magnitude."""
    apply(model)
    own = weight_of(model, layer)
    rows, columns = own.shape[:2]
    matrices, change = pair(rows, own[0].numel())
    matrices["lora_down.weight"] = matrices["lora_down.weight"].reshape(RANK, *own.shape[1:])
    matrices["lora_up.weight"] = matrices["lora_up.weight"].reshape(rows, RANK, *[1] * (own.dim() - 2))
    changed = (own + change.reshape(own.shape)).transpose(0, 0 if axis == "of each row" else 1)
    lengths = 1 + numbers(len(changed)).abs()
    turned = changed / changed.flatten(1).norm(dim=1).reshape(-1, *[1] * (own.dim() - 1))
    wanted = turned * lengths.reshape(-1, *[1] * (own.dim() - 1))
    wanted = wanted.transpose(0, 0 if axis == "of each row" else 1)
    shape = (rows, 1) if axis == "of each row" else (1, columns)
    keys = matrices | {"dora_scale": lengths.reshape(*shape, *[1] * (own.dim() - 2))}
    apply(model, (saved(tmp_path / "dora.safetensors", {layer: keys}), weight))
    torch.testing.assert_close(weight_of(model, layer), own + weight * (wanted - own), rtol=1e-4, atol=1e-6)


TRAINED = [("lora", False), ("loha", False), ("lokr", False), ("full", False), ("lora", True), ("lokr", True)]


@pytest.mark.parametrize(("algo", "decomposed"), TRAINED)
@pytest.mark.parametrize("tucker", [False, True])
def test_what_lycoris_trains_is_what_it_makes_here(
    model: sdxl.Checkpoint, folder: Path, tmp_path: Path, algo: str, decomposed: bool, tucker: bool
) -> None:
    """A network of its own library on the same UNet, with random numbers, answers as ours does with its file:
    names, orientations and scales are what trainers write. (Its own merging is no measure: 4.1.3 squares
    LoHa's scale there, and not where it trains.)
    """
    logging.getLogger("LyCORIS").setLevel(logging.ERROR)
    LycorisNetwork.apply_preset(
        {"target_name": [".*attn.*to_q", ".*ff.net.2", ".*conv1", ".*downsamplers.*"]}
    )
    theirs = sdxl.load(folder, torch.device("cpu"), torch.float32).pipe.unet
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(3)
        network = create_lycoris(
            theirs, 1.0, linear_dim=4, linear_alpha=2.0, conv_dim=4, conv_alpha=1.0, algo=algo,
            dora_wd=decomposed, factor=4, use_tucker=tucker,
        )  # fmt: skip
        network.apply_to()
        for parameter in network.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    path = tmp_path / f"{algo}.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in network.state_dict().items()}, path)
    apply(model)
    with torch.no_grad():
        own = answer(model.pipe.unet)
        apply(model, (path, 1.0))
        made, wanted = answer(model.pipe.unet), answer(theirs)
    torch.testing.assert_close(made, wanted, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(made, own, rtol=1e-2, atol=1e-2)


def test_pefts_dora_is_taken_too(model: sdxl.Checkpoint, folder: Path, tmp_path: Path) -> None:
    """By its own names, as diffusers' training scripts save it: it goes the way of LoRAs."""
    theirs = sdxl.load(folder, torch.device("cpu"), torch.float32).pipe.unet
    theirs.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["to_q", "conv1"], use_dora=True))
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if ".lora_" in name:
                parameter += 0.2 * numbers(*parameter.shape)
        tensors = {f"unet.{key}": tensor for key, tensor in get_peft_model_state_dict(theirs).items()}
        assert any("magnitude" in key for key in tensors)
        save_file(tensors, tmp_path / "peft.safetensors")
        apply(model)
        own = answer(model.pipe.unet)
        apply(model, (tmp_path / "peft.safetensors", 1.0))
        made, wanted = answer(model.pipe.unet), answer(theirs)
    torch.testing.assert_close(made, wanted, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(made, own, rtol=1e-2, atol=1e-2)


def answer(unet: Any) -> torch.Tensor:
    """Of the UNet to fixed noise."""
    words = {"text_embeds": numbers(1, PROJECTION), "time_ids": torch.ones(1, 6)}
    width = unet.config.cross_attention_dim
    said: torch.Tensor = unet(
        numbers(1, 4, 8, 8), 500, numbers(1, 7, width), added_cond_kwargs=words, return_dict=False
    )[0]
    return said


def test_names_of_every_kind_mean_the_same_layers(model: sdxl.Checkpoint, tmp_path: Path) -> None:
    """kohya's in either layout and LyCORIS' own; text encoders with and without their models' prefix."""
    unet = {
        f"lora_unet_{(layer_name(LINEAR) or '').replace('.', '_')}",
        f"lora_unet_{LINEAR.replace('.', '_')}",
    }
    unet.add(f"lycoris_{LINEAR.replace('.', '_')}")
    made = set()
    for name in unet:
        tensor = numbers(*weight_of(model, LINEAR).shape)
        save_file({f"{name}.diff": tensor}, tmp_path / f"{name}.safetensors")
        apply(model, (tmp_path / f"{name}.safetensors", 1.0))
        made.add(bits(model))
    assert len(made) == 1
    for number, part in ((1, "text_encoder"), (2, "text_encoder_2")):
        encoder = getattr(model.pipe, part)
        layer = next(name for name, _ in encoder.named_modules() if name.endswith("layers.0.mlp.fc1"))
        apply(model)
        before = bits(model)
        own = encoder.get_submodule(layer).weight.detach().clone()
        key = f"lora_te{number}_text_model_encoder_layers_0_mlp_fc1.diff"
        save_file({key: torch.ones_like(own)}, tmp_path / "text.safetensors")
        apply(model, (tmp_path / "text.safetensors", 0.5))
        torch.testing.assert_close(encoder.get_submodule(layer).weight.detach(), own + 0.5)
        apply(model)
        assert bits(model) == before


@pytest.fixture(scope="module")
def files(model: sdxl.Checkpoint, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Some that change the same layers: two that are merged, and a LoRA that is laid beside them."""
    place = tmp_path_factory.mktemp("merged")
    shape = tuple(weight_of(model, LINEAR).shape)
    unet = sdxl.load(folder, torch.device("cpu"), torch.float32).pipe.unet
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["attn2.to_q"]))
    beside = {
        f"unet.{key}": numbers(*tensor.shape) for key, tensor in get_peft_model_state_dict(unet).items()
    }
    save_file(beside, place / "beside.safetensors")
    return {
        "loha": saved(place / "loha.safetensors", {LINEAR: loha(*shape)[0]}),
        "lokr": saved(place / "lokr.safetensors", {LINEAR: lokr(*shape)[0], CONVOLUTION: convolved(model)}),
        "beside": place / "beside.safetensors",
    }


def convolved(model: sdxl.Checkpoint) -> Tensors:
    """A change of the convolution."""
    return tucker(*weight_of(model, CONVOLUTION).shape[:2])[0]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["loha", "lokr", "beside"]), st.sampled_from([-0.5, 0.0, 0.7, 1.0]))
    )
)
def test_whatever_came_before_a_picture_has_its_own(
    model: sdxl.Checkpoint, files: dict[str, Path], asked: list[dict[str, float]]
) -> None:
    """After any frames, a frame's weights are the sum of just its own changes; the own bits without any."""
    apply(model)
    own, before = weight_of(model, LINEAR), bits(model)
    changes = {"loha": loha(*own.shape)[1], "lokr": lokr(*own.shape)[1]}
    for wanted in asked:
        apply(model, *((files[name], weight) for name, weight in wanted.items()))
        summed = sum((wanted[name] * changes[name] for name in wanted if name in changes), start=own)
        torch.testing.assert_close(weight_of(model, LINEAR), summed, rtol=1e-5, atol=1e-5)
    apply(model, *((files["beside"], 1.0),) if asked else ())
    assert bits(model) == before


def test_a_changed_file_is_merged_anew(model: sdxl.Checkpoint, tmp_path: Path) -> None:
    """It is known by more than its name; the same one is not merged a second time."""
    path = tmp_path / "changing.safetensors"
    own = weight_of(model, LINEAR)
    saved(path, {LINEAR: {"diff": torch.ones_like(own)}})
    apply(model, (path, 1.0))
    first = model.merged.own
    kept = first[0][1]
    apply(model, (path, 1.0))
    assert model.merged.own[0][1] is kept
    path.unlink()
    saved(path, {LINEAR: {"diff": torch.zeros_like(own)}})
    apply(model, (path, 1.0))
    assert torch.equal(weight_of(model, LINEAR), own)


def of_shape(*shape: int) -> Callable[[Path], object]:
    """A LoHa whose matrices are of another model."""
    keys = {f"hada_w{n}_{side}": torch.ones(*shape) for n in (1, 2) for side in "ab"}
    return lambda path: saved(
        path, {CONVOLUTION: convolution_of_one(), LINEAR: keys | {"alpha": torch.ones(())}}
    )


def convolution_of_one() -> Tensors:
    """Of any shape: a bias that is added to."""
    return {"diff_b": torch.ones(32)}


FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "other shapes": (of_shape(7, 7), "cannot be used"),
    "no place": (
        lambda path: save_file({"lora_unet_nowhere.hada_w1_a": torch.ones(2)}, path),
        "0 of its 1 layers have a place in the checkpoint; lora_unet_nowhere has none",
    ),
    "a number that is none": (
        lambda path: saved(path, {LINEAR: {"diff_b": torch.ones(5), "alpha": torch.tensor(torch.inf)}}),
        "numbers that are none .NaN or infinity.",
    ),
    "half of a kind": (lambda path: saved(path, {LINEAR: {"hada_w1_a": torch.ones(2, 2)}}), "cannot be used"),
    "no kind at all": (
        lambda path: saved(path, {LINEAR: {"dora_scale": torch.ones(5, 1)}}),
        "its magnitudes .5, 1. fit no weight",
    ),
    "no bias there": (
        lambda path: saved(path, {LINEAR: {"diff_b": torch.ones(5)}}),
        "it adds .5. where there are no numbers",
    ),
    "a norm of another kind": (
        lambda path: saved(path, {NORM: {"hada_w1_a": torch.ones(2, 2)}}),
        "cannot be used",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_that_does_not_fit_is_named_and_leaves_nothing_behind(
    model: sdxl.Checkpoint, files: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    """One sentence with its path, also when others go with it; what was half done is undone."""
    apply(model)
    before = bits(model)
    make, sentence = FOREIGN[kind]
    path = tmp_path / "foreign.safetensors"
    make(path)
    for others in ([], [(files["lokr"], 1.0), (files["beside"], 1.0)]):
        with pytest.raises(loras.BadLora, match=sentence) as caught:
            apply(model, *others, (path, 1.0))
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert bits(model) == before


def test_no_file_makes_more_of_its_numbers_than_its_layer_has() -> None:
    """Nor on the way: by a matrix of more axes, or by a core with a side as long as can be."""
    layer, tall, long = torch.nn.Linear(64, 64), torch.ones(4096, 1), torch.ones(10**9, 1).expand(1, 10**9, 1)
    of_three = {"hada_w1_b": torch.ones(2, 1, 1), "hada_w2_b": torch.ones(2, 1, 1)}
    of_three |= {"hada_w1_a": tall, "hada_w2_a": tall}
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        differences.of(layer, of_three)
    core = {"lora_up.weight": tall, "lora_down.weight": long[0], "lora_mid.weight": long[..., None]}
    with pytest.raises(ValueError, match="make more than the layer's 4096 numbers"):
        differences.of(layer, core)


def test_memory_that_runs_out_is_nobodys_fault(
    model: sdxl.Checkpoint, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told as that, so that room is made and it is tried again; the half that was done is undone, and
    nothing of it is held on to meanwhile.
    """
    apply(model)
    before = bits(model)
    added = differences.of
    done: list[weakref.ref[torch.Tensor]] = []

    def full(layer: object, tensors: Tensors) -> Tensors:
        done.append(weakref.ref(next(iter(tensors.values()))))
        if len(done) == 2:
            raise torch.OutOfMemoryError
        return added(layer, tensors)

    monkeypatch.setattr(differences, "of", full)
    try:
        apply(model, (files["lokr"], 1.0))
    except torch.OutOfMemoryError as error:
        error.__traceback__ = None  # as `spare` does before it tries again
    assert [tensor() for tensor in done] == [None, None]
    assert bits(model) == before
    apply(model, (files["lokr"], 1.0))
    assert bits(model) != before
