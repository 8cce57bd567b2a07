"""Sample prompts for a first look."""

import msgspec

from daemon.files import write_whole
from daemon.settings import Home

PROMPTS = (
    "a red circle on a blue background",
    "a large yellow star on a purple background",
    "a sailing boat on the sea at sunset with the sun",
    "a pink heart on a teal background",
    "trees in the snow by day",
    "a white cross on a red background",
    "a house on green hills on a sunny day with the sun",
)
SEEDS = 3
"""Pictures of each prompt, so that it shows what a seed changes."""
SIZE, STEPS = 256, 24
"""Pixels and steps: large enough, and slow enough, to be a pleasure to watch."""


def drop(home: Home) -> None:
    """Put the samples into the inbox, whole, as any program should."""
    home.inbox.mkdir(parents=True, exist_ok=True)
    for number, prompt in enumerate(PROMPTS, start=1):
        path = home.inbox / f"sample-{number}.json"
        write_whole(path, msgspec.json.encode(_job(prompt, number)) + b"\n", durable=False)


def _job(prompt: str, number: int) -> dict[str, str | int]:
    seeds: dict[str, str | int] = {"seed": 10 * number, "count": SEEDS}
    return {"prompt": prompt, **seeds, "width": SIZE, "height": SIZE, "steps": STEPS}
