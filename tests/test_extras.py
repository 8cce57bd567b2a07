"""Everything that a prompt can ask for at once, through the whole daemon and back from its picture."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from daemon.settings import Home
from tests.daemons import Daemon
from tests.small_model import WIDTHS

PROMPT = {
    "prompt": "a (red:1.3) fox <lora:style:0.7> <lora:turn:0.5> BREAK [snow], embedding:soft",
    "steps": 3,
    "seed": 5,
    "width": 64,
    "height": 64,
    "sampler": "euler_ancestral",
    "image": "cat.png",
    "strength": 0.7,
    "hires": {"scale": 1.5, "steps": 2},
}


@pytest.fixture
def stocked(home: Home, demo_checkpoint: Path) -> Home:
    """A home with a LoRA and a LoHa of one layer, a learned word, and a picture to begin with."""
    for folder in (home.loras, home.embeddings, home.images):
        folder.mkdir(parents=True)
    layer = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_q"
    save_file(
        {
            f"{layer}.lora_down.weight": torch.ones(2, 64),
            f"{layer}.lora_up.weight": torch.ones(64, 2) / 8,
            f"{layer}.alpha": torch.tensor(2.0),
        },
        home.loras / "style.safetensors",
    )
    factors = {f"{layer}.hada_w{n}_{side}": torch.ones(64, 2) / 4 for n in (1, 2) for side in "ab"}
    turned = {key: tensor.T.contiguous() if key.endswith("_b") else tensor for key, tensor in factors.items()}
    save_file(turned, home.loras / "turn.safetensors")
    learned = {"clip_l": torch.ones(1, WIDTHS[0]) / 4, "clip_g": torch.ones(1, WIDTHS[1]) / 4}
    save_file(learned, home.embeddings / "soft.safetensors")
    Image.new("RGB", (80, 60), (200, 120, 40)).save(home.images / "cat.png")
    return home


def sha256(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_picture_of_everything_is_made_and_made_again_from_itself(stocked: Home) -> None:
    """The log keeps what was used; the picture dropped again has the same pixels; what is gone is said."""
    with Daemon(stocked) as daemon:
        daemon.drop("fox.json", PROMPT)
        first = daemon.wait_for_type("FinalWritten")
        made, recipe = first["data"], first["data"]["recipe"]
        assert (made["width"], made["height"]) == (96, 96)
        assert recipe["prompt"]["prompt"] == "a (red:1.3) fox BREAK [snow], embedding:soft"
        used = {"style": 0.7, "turn": 0.5}
        assert recipe["prompt"]["loras"] == [{"name": each, "weight": used[each]} for each in used]
        assert recipe["loras_sha256"] == [sha256(stocked.loras / f"{name}.safetensors") for name in used]
        assert recipe["embeddings_sha256"] == [sha256(stocked.embeddings / "soft.safetensors")]
        assert recipe["image_sha256"] == sha256(stocked.images / "cat.png")
        assert len(recipe["sigmas"]) == 3 + 1 + 2 + 1
        previews = daemon.wait_for_types("PreviewWritten", first["seq"])
        assert {preview["data"]["steps"] for preview in previews} == {5}

        shutil.copy(stocked.root / made["path"], stocked.inbox / "again.png")
        again = daemon.wait_for_type("FinalWritten", first["seq"])
        assert again["data"]["pixels_sha256"] == made["pixels_sha256"]
        assert again["data"]["recipe"]["prompt"] == recipe["prompt"]

        (stocked.loras / "style.safetensors").rename(stocked.loras / "styles.safetensors")
        daemon.drop("missing.json", PROMPT)
        rejected = daemon.wait_for_type("JobRejected", again["seq"])
        (fault,) = rejected["data"]["faults"]
        assert (fault["path"], fault["suggestion"]) == ("$.prompt", "Did you mean `styles`?")
