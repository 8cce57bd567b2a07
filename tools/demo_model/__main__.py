"""Makes the whole demo model from a seed: python -m tools.demo_model --seed 0 --out build."""

import argparse
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tools.demo_model import (
    finish_vae,
    latent_rgb,
    latents,
    tiny_decoder,
    train_decoder,
    train_text,
    train_unet,
    train_vae,
)
from tools.demo_model.export import export
from tools.demo_model.tokenizer import save_tokenizers
from tools.demo_model.training import note_training
from tools.demo_model.workers import run

# Seconds of processor time for each of two workers; --pace stretches or shrinks them all.
SECONDS = {"vae": 1000.0, "text": 100.0, "unet": 3600.0, "decoder": 300.0, "tiny": 240.0}
TRAINERS = {
    "vae": train_vae.train,
    "text": train_text.train,
    "unet": train_unet.train,
    "decoder": train_decoder.train,
    "tiny": tiny_decoder.train,
}


def main() -> None:
    """Run the stages that are not done yet; an interrupted stage goes on where it was."""
    wish = _arguments()
    wish.out.mkdir(parents=True, exist_ok=True)
    for name, stage in _stages(wish):
        _once(wish.out, name, stage)
    shutil.copytree(wish.out / "model", wish.model, dirs_exist_ok=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--model", type=Path, required=True, help="folder for the finished model")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--pace", type=float, default=1.0, help="factor on all training times")
    return parser.parse_args()


def _stages(wish: argparse.Namespace) -> list[tuple[str, Callable[[], None]]]:
    out, seed = wish.out, wish.seed
    return [
        ("tokenizers", partial(save_tokenizers, seed, out / "model")),
        ("vae", partial(_train, wish, "vae")),
        ("vae finished", partial(finish_vae.finish, out, seed)),
        ("latents", partial(run, partial(latents.encode, seed=seed), out, wish.workers)),
        ("text", partial(_train, wish, "text")),
        ("unet", partial(_train, wish, "unet")),
        ("decoder", partial(_train, wish, "decoder")),
        ("decoder finished", partial(train_decoder.finish, out, seed)),
        ("tiny", partial(_train, wish, "tiny")),
        ("tiny finished", partial(tiny_decoder.finish, out, seed)),
        ("latent2rgb", partial(latent_rgb.fit, out, seed)),
        ("export", partial(export, out)),
    ]


def _train(wish: argparse.Namespace, name: str) -> None:
    stage = partial(TRAINERS[name], seed=wish.seed, seconds=SECONDS[name] * wish.pace)
    run(stage, wish.out, wish.workers)
    note_training(wish.out, name)


def _once(out: Path, name: str, stage: Callable[[], None]) -> None:
    mark = out / f"{name.replace(' ', '-')}.done"
    if mark.exists():
        return
    begun = time.monotonic()
    stage()
    mark.write_text(f"{time.monotonic() - begun:.0f} seconds\n")
    print(f"{name}: {mark.read_text().strip()}", flush=True)


if __name__ == "__main__":
    main()
