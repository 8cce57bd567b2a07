"""Which files a picture is made from, and when they count as others."""

import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from daemon.app import running
from daemon.gpu import sources
from daemon.gpu.sums import File, Sums
from daemon.prompts import Lora, Prompt
from daemon.settings import Home
from tests.stories import prompt


@pytest.fixture
def folder(tmp_path: Path, demo_checkpoint: Path) -> Path:
    """A copy of the small model, in diffusers' layout."""
    return shutil.copytree(demo_checkpoint, tmp_path / "model")


@pytest.mark.anyio
async def test_a_folders_sum_is_what_sha256sum_makes_of_it(folder: Path, tmp_path: Path) -> None:
    """Anyone can work it out again; a file that lies about in the folder is none of the weights."""
    (folder / "notes.safetensors").write_bytes(b"none of them")
    shell = "LC_ALL=C; export LC_ALL; sha256sum */*.safetensors | sha256sum"
    told = subprocess.run(["sh", "-c", shell], cwd=folder, check=True, capture_output=True, text=True)
    known = Sums(tmp_path / "sums.json")
    async with running(known.run):
        assert await sources.checkpoint(folder).sha256(known) == told.stdout.split()[0]
        empty = sources.checkpoint(tmp_path / "nowhere")
        assert (empty.version, await empty.sha256(known)) == ("", None)


CHANGES = {
    "weights": lambda path: (path / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"other"),
    "the scheduler's config": lambda path: (path / "scheduler" / "scheduler_config.json").write_text("{}"),
    "one more file": lambda path: (path / "latent2rgb.json").rename(path / "old.json"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_folder_is_another_version(folder: Path, change: str) -> None:
    """Whatever of it may change the picture; looking twice changes nothing."""
    before = sources.checkpoint(folder).version
    assert sources.checkpoint(folder).version == before
    CHANGES[change](folder)
    assert sources.checkpoint(folder).version != before


def test_a_single_file_may_have_configs_beside_it(tmp_path: Path) -> None:
    """By its name without the ending, as a prompt names it; the configs count."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    bare = sources.checkpoint(tmp_path / "model")
    assert list(bare.files) == ["model.safetensors"]
    (tmp_path / "model.config" / "unet").mkdir(parents=True)
    (tmp_path / "model.config" / "unet" / "config.json").write_text("{}")
    assert sources.checkpoint(tmp_path / "model").version not in (bare.version, "")


def test_every_file_that_a_prompt_names_is_looked_at(home: Home) -> None:
    """Each of them, replaced by another of the same size, makes other versions."""
    for folder in (home.loras, home.images):
        folder.mkdir(parents=True)
    names = (home.loras / "a.safetensors", home.loras / "b.safetensors", home.images / "cat.png")
    for path in names:
        path.write_bytes(b"as it was")
    asked = msgspec.structs.replace(
        prompt(), loras=[Lora(name="a"), Lora(name="b.safetensors")], image="cat.png", strength=0.5
    )
    seen = [versions(home, asked)]
    for path in names:
        other = path.with_name("other")
        other.write_bytes(b"otherwise")
        other.replace(path)
        assert versions(home, asked) not in seen
        seen.append(versions(home, asked))
    assert len({len(each) for each in seen}) == 1


def versions(home: Home, asked: Prompt) -> list[str]:
    """Of what the prompt names, now."""
    return sources.look(home, asked).versions


def test_links_are_followed(tmp_path: Path) -> None:
    """As in a hub's cache: the same file by another name is read once."""
    (tmp_path / "blob").write_bytes(b"it")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "blob")
    assert File.at(tmp_path / "link.safetensors") == File.at(tmp_path / "blob")
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    assert File.at(tmp_path / "dead") is None
    assert File.at(tmp_path) is None
