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
SMALL_THEN_LARGE = {
    "width": 128, "height": 128, "steps": 20, "hires": {"scale": 2, "steps": 14, "strength": 0.5},
}  # fmt: skip
"""The built-in model sets its shapes best at 128 pixels; the second pass makes them large and crisp, and the
whole slow enough to be a pleasure to watch."""


def drop(home: Home) -> None:
    """Put the samples into the inbox, whole, as any program should."""
    home.inbox.mkdir(parents=True, exist_ok=True)
    for number, prompt in enumerate(PROMPTS, start=1):
        path = home.inbox / f"sample-{number}.json"
        write_whole(path, msgspec.json.encode(_job(prompt, number)) + b"\n", durable=False)


def _job(prompt: str, number: int) -> dict[str, object]:
    return {"prompt": prompt, "seed": 10 * number, "count": SEEDS, **SMALL_THEN_LARGE}
