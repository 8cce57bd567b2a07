"""What a prompt names must be there when it is taken, and what is there instead is said."""

import json
import os
from pathlib import Path

import pytest

from daemon import reprints, sheets, stock
from daemon.faults import Fault
from daemon.settings import Home
from daemon.sheets import Sheet
from tests.pictures import saved


@pytest.fixture
def stocked(tmp_path: Path) -> Home:
    """A home with two LoRAs."""
    home = Home(tmp_path)
    home.loras.mkdir(parents=True)
    for name in ("add-detail-xl", "pixel art"):
        (home.loras / f"{name}.safetensors").write_bytes(b"")
    home.embeddings.mkdir()
    (home.embeddings / "negative_xl.safetensors").write_bytes(b"")
    return home


def faults(home: Home, value: object) -> list[Fault]:
    """What is wrong with a prompt file."""
    verdict = sheets.read(json.dumps(value).encode(), "demo", stock.lacking(home))
    return [] if isinstance(verdict, Sheet) else verdict


def test_what_is_there_passes(stocked: Home) -> None:
    """With and without the ending, in the key and in the prompt."""
    loras = [{"name": "pixel art"}, {"name": "add-detail-xl.safetensors", "weight": 0.5}]
    assert faults(stocked, {"prompt": "a fox <lora:add-detail-xl:1>", "loras": loras}) == []


def test_learned_words_must_be_there(stocked: Home) -> None:
    """In either prompt, with and without the ending."""
    there = "embedding:negative_xl, embedding:negative_xl.safetensors"
    assert faults(stocked, {"prompt": f"a fox, {there}", "negative_prompt": there}) == []
    first, second = faults(stocked, {"prompt": "embedding:negative-x", "negative_prompt": "embedding:zzz"})
    assert (first.path, first.suggestion) == ("$.prompt", "Did you mean `negative_xl`?")
    assert first.message == "there is no embedding 'negative-x' in models/embeddings"
    assert (second.path, second.suggestion) == ("$.negative_prompt", "There are negative_xl.")


def test_files_are_named_as_they_are_downloaded(stocked: Home) -> None:
    """With brackets, signs and dots, in the key and in the prompt."""
    name = "Fine [detail] (v2.1) + more, it's 100% #1"
    (stocked.loras / f"{name}.safetensors").write_bytes(b"")
    assert faults(stocked, {"prompt": f"a fox <lora:{name}:0.5>"}) == []
    assert faults(stocked, {"prompt": "a fox", "loras": [{"name": name}]}) == []


@pytest.mark.parametrize("name", [".hidden", "~", "-o", "a/b", "a\\b", "..", "a\u0000", "a?", "ä", " a"])
def test_what_is_no_plain_files_name_is_none(stocked: Home, name: str) -> None:
    """A folder, something hidden, an option, what file systems refuse or spell in two ways."""
    first, *_ = faults(stocked, {"prompt": "a fox", "loras": [{"name": name}]})
    assert "must be a file's name without its folder" in first.message


def test_a_refiner_must_be_there(stocked: Home) -> None:
    """As a folder or a single file, or the built-in model, which can be one too."""
    refined = {"prompt": "a fox", "refiner": {"model": "sd_xl_refiner"}}
    (fault,) = faults(stocked, refined)
    assert (fault.path, fault.suggestion) == ("$.refiner.model", "Put it there, a folder or a .safetensors.")
    stocked.checkpoints.mkdir(parents=True)
    (stocked.checkpoints / "sd_xl_refiner.safetensors").write_bytes(b"")
    assert faults(stocked, refined) == []
    assert faults(stocked, {"prompt": "a fox", "refiner": {"model": "demo"}}) == []
    (fault,) = faults(stocked, {"prompt": "a fox", "refiner": {"model": "sd_xl_refine"}})
    assert fault.suggestion == "Did you mean `sd_xl_refiner`?"


@pytest.mark.parametrize(
    ("value", "path", "suggestion"),
    [
        (
            {"prompt": "a", "loras": [{"name": "add-detail"}]},
            "$.loras[0].name",
            "Did you mean `add-detail-xl`?",
        ),
        ({"prompt": "a <lora:zzz:1>"}, "$.prompt", "There are add-detail-xl, pixel art."),
        (
            {"defaults": {"loras": [{"name": "pixelart"}]}, "jobs": [{"prompt": "a"}, {"prompt": "b"}]},
            "$.defaults.loras[0].name",
            "Did you mean `pixel art`?",
        ),
        (
            {"jobs": [{"prompt": "a"}, {"prompt": "b", "loras": [{"name": "pixel art"}, {"name": "q"}]}]},
            "$.jobs[1].loras[1].name",
            "There are add-detail-xl, pixel art.",
        ),
    ],
)
def test_what_is_not_there_is_a_fault_where_it_stands(
    stocked: Home, value: object, path: str, suggestion: str
) -> None:
    """With the nearest name."""
    (fault,) = faults(stocked, value)
    assert (fault.path, fault.suggestion) == (path, suggestion)
    assert fault.message.startswith("there is no LoRA")


def test_an_empty_folder_says_where_to_put_it(tmp_path: Path) -> None:
    """Even a folder that is not there."""
    (fault,) = faults(Home(tmp_path), {"prompt": "a", "loras": [{"name": "x"}]})
    assert fault.suggestion == "Put x.safetensors there."


def test_a_picture_whose_lora_is_gone_says_so(stocked: Home) -> None:
    """The key is left out and named; one that is there is carried over."""
    settings = "Steps: 4, Sampler: Euler, CFG scale: 5, Seed: 1, Size: 64x64"
    text = f"a fox <lora:gone:0.5> <lora:pixel art:0.7>\n{settings}"
    verdict = reprints.of_picture(saved({"parameters": text}), "demo", stock.lacking(stocked))
    assert isinstance(verdict, Sheet)
    assert verdict.prompts[0].loras == []
    assert any("there is no LoRA 'gone'" in line for line in verdict.not_carried)
    text = text.replace("<lora:gone:0.5>", "")
    verdict = reprints.of_picture(saved({"parameters": text}), "demo", stock.lacking(stocked))
    assert isinstance(verdict, Sheet)
    assert [(lora.name, lora.weight) for lora in verdict.prompts[0].loras] == [("pixel art", 0.7)]


def test_an_image_is_found_within_the_home_only(stocked: Home, tmp_path: Path) -> None:
    """In images/, elsewhere in the home by its path, and never outside, not by dots and not by a link."""
    outside = tmp_path.parent / f"{tmp_path.name}-secret.png"
    outside.write_bytes(b"secret")
    stocked.images.mkdir()
    stocked.frames.mkdir()
    (stocked.images / "cat.png").write_bytes(b"")
    (stocked.frames / "task_1.png").write_bytes(b"")
    (stocked.images / "link.png").symlink_to(outside)
    (stocked.images / "notes.txt").write_bytes(b"")
    for name in (
        "cat.png",
        "images/cat.png",
        "frames/task_1.png",
        str(stocked.images.absolute() / "cat.png"),
    ):
        assert faults(stocked, {"prompt": "a", "image": name}) == []
    for name in (
        "dog.png",
        "link.png",
        f"../{outside.name}",
        str(outside),
        "/etc/passwd",
        "images",
        "a\0b",
        "~",
        "a" * 400,
    ):
        (fault,) = faults(stocked, {"prompt": "a", "image": name})
        assert (fault.path, fault.message[:17]) == ("$.image", "there is no image")
    assert "PNG, JPEG and WebP" in str(faults(stocked, {"prompt": "a", "image": "notes.txt"})[0].suggestion)
    assert faults(stocked, {"prompt": "a", "image": "cat.jpg"})[0].suggestion == "Did you mean `cat.png`?"


def test_what_there_is_to_choose_from(stocked: Home) -> None:
    """By the names that prompts use; nothing hidden, half downloaded or beside the point."""
    stocked.checkpoints.mkdir()
    for name in ("sdxl.safetensors", "sdxl.config/unet", "folder/unet", ".hidden", "notes.txt", "x.part"):
        path = stocked.checkpoints / name
        path.mkdir(parents=True) if "/" in name else path.write_bytes(b"")
    there = stock.Stock(
        checkpoints=["demo", "folder", "sdxl"],
        loras=["add-detail-xl", "pixel art"],
        embeddings=["negative_xl"],
    )
    assert stock.look(stocked) == there
    # What no prompt can name is not offered, nor said by a suggestion: not every name can be written down.
    for folder in (stocked.loras, stocked.embeddings, stocked.checkpoints):
        Path(os.fsdecode(bytes(folder) + b"/pixel-\xff.safetensors")).write_bytes(b"")
    (stocked.embeddings / "my style.safetensors").write_bytes(b"")
    assert stock.look(stocked) == there
    (fault,) = faults(stocked, {"prompt": "a fox <lora:pixel:1>"})
    assert fault.suggestion == "Did you mean `pixel art`?"
    assert stock.look(Home(stocked.root / "nowhere")).checkpoints == ["demo"]


def test_a_picture_whose_name_is_no_text_is_not_suggested(stocked: Home) -> None:
    """A name is bytes, and not all bytes can be written into an event."""
    stocked.images.mkdir()
    Path(os.fsdecode(bytes(stocked.images) + b"/cat-\xff.png")).write_bytes(b"")
    (fault,) = faults(stocked, {"prompt": "a fox", "image": "cat.png"})
    assert fault.suggestion == "Put it there, and name it by its name alone."
