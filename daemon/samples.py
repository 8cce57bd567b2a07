"""Sample prompts for a first look."""

import msgspec

from daemon.files import write_whole
from daemon.settings import Home

PROMPTS = (
    {"prompt": "a red circle on a blue background", "seed": 7},
    {"prompt": "a yellow star on a purple background", "seed": 21},
    {"prompt": "a boat on the sea under a red sun", "seed": 3, "count": 2},
    {"prompt": "a green triangle on a white background", "seed": 12},
)


def drop(home: Home) -> None:
    """Put the samples into the inbox, whole, as any program should."""
    home.inbox.mkdir(parents=True, exist_ok=True)
    for number, prompt in enumerate(PROMPTS, start=1):
        path = home.inbox / f"sample-{number}.json"
        write_whole(path, msgspec.json.encode(prompt) + b"\n", durable=False)
