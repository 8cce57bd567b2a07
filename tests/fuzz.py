"""Mutated prompt files by the million: `python -m tests.fuzz`. Whatever comes, the answer is jobs or faults.

Good files are cut, doubled, spliced, flipped and sprinkled with what parsers trip over. Each answer must be a
sheet, or faults that can be written down and stand inside the file. `make fuzz` runs the long form.
"""

import argparse
import json
import random
import time

import msgspec

from daemon.faults import MOST, Fault
from daemon.settings import DEMO
from daemon.sheets import Sheet, read

SEEDS = [
    b'{"prompt": "a red fox"}',
    b'{"prompt": "a red fox", "steps": 24, "seed": 7, "cfg_scale": 5.5, "width": 256}',
    '\ufeff{"prompt": "лиса 狐 🦊 \\ud83e\\udd8a", "negative_prompt": "", "priority": -3}'.encode(),
    b'{"$schema": "../prompt.schema.json", "key": "k", "model": "demo", "project": "p", "prompt": "a"}',
    b'{\r\n  "defaults": {"steps": 30.0, "prompt": "a"},\r\n  "jobs": [{"seed": null}, {"prompt": "b"}]\r\n}',
    b'{"prompt": "a", "sampler": "dpmpp_2m", "scheduler": "karras", "count": 2}',
    b'{"defaults": {"sampler": "DPM++ 2M Karras"}, "jobs": [{"prompt": "a", "scheduler": "beta"}]}',
    b'{"prompt": "a", "seed": 1}\n\n{"prompt": "b"}\n{"prompt": "c", "height": 1e2}\n',
]
SPICES = [
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n", b"\t",
    b" ", b"\\ud800", b"\\u0000", b"\\x", b"NaN", b"-Infinity", b"1e400", b"9" * 400, b"9" * 5000, b"-0",
    b"0x1", b"01", b"1.", b"true", b"null", b"None", b"//", b"/*", b"'", b'"prompt"', b'"jobs"', b'"key"',
    b'"defaults"', b'"steps": 4,', b'"prompt": "x",', b'"sampler": "eulr",', b'"scheduler": "x",',
    b"[" * 300, b"[" * 5000, b'{"a":' * 300,
    b'{"a":' * 5000, b"\xe2\x80\xa8", b"\xed\xa0\x80",
]  # fmt: skip


def mutated(dice: random.Random) -> bytes:
    """A prompt file after a few accidents."""
    data = dice.choice(SEEDS)
    for _ in range(dice.choice((1, 1, 1, 2, 2, 3, 5, 9))):
        start = dice.randint(0, len(data))
        end = min(len(data), start + dice.choice((0, 0, 1, 1, 2, 5, 20)))
        match dice.randrange(6):
            case 0:  # cut off, at either end
                data = data[:start] if dice.random() < 0.8 else data[start:]
            case 1:  # a bit turned over
                data = (
                    data[:start]
                    + bytes(byte ^ (1 << dice.randrange(8)) for byte in data[start:end])
                    + data[end:]
                )
            case 2:  # a piece doubled
                data = data[:end] + data[start:end] + data[end:]
            case 3:  # a piece of another file
                other = dice.choice(SEEDS)
                at = dice.randint(0, len(other))
                data = data[:start] + other[at : at + dice.randint(0, 30)] + data[end:]
            case _:  # what parsers trip over
                data = data[:start] + dice.choice(SPICES) + data[end:]
    return data


def check(data: bytes, *, lines: bool) -> bool:
    """Whether it is a good file. Raises whatever must not happen."""
    verdict = read(data, DEMO, lines=lines)
    written = msgspec.json.encode(verdict)
    if isinstance(verdict, Sheet):
        assert msgspec.json.decode(written, type=Sheet) == verdict
        assert verdict.prompts
        return True
    assert msgspec.json.decode(written, type=list[Fault]) == verdict
    assert 1 <= len(verdict) <= MOST + 1
    rows = data.decode("utf-8-sig", "backslashreplace").split("\n")
    for fault in verdict:
        assert 1 <= fault.line <= len(rows), fault
        assert 1 <= fault.column <= len(rows[fault.line - 1]) + 1, fault
        assert fault.message
        assert fault.path.startswith("$")
    assert lines or not _is_plain(data)
    return False


def _is_plain(data: bytes) -> bool:
    """Whether another reader finds just a prompt in it, which must then be good."""
    try:
        pairs = json.loads(data.decode("utf-8-sig"), object_pairs_hook=list)
        key, prompt = pairs[0]
        prompt.strip().encode()
    except (ValueError, RecursionError, TypeError, IndexError, KeyError, AttributeError):
        return False
    return len(pairs) == 1 and key == "prompt" and len(prompt.strip()) > 0 and len(prompt) <= 10_000


def fuzz(count: int, seed: int) -> int:
    """Check `count` files; answers how many of them were good."""
    dice = random.Random(seed)
    good = 0
    for number in range(count):
        data = mutated(dice)
        try:
            good += check(data, lines=dice.random() < 0.3)
        except Exception as error:  # to name the file that led to it; it is raised all the same
            error.add_note(f"file {number} of seed {seed}: {data!r}")
            raise
    return good


def main() -> None:
    """Exit with a traceback, and the file that led to it, if anything unexpected happens."""
    parser = argparse.ArgumentParser(description="mutated prompt files by the million")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    asked = parser.parse_args()
    print(f"{asked.count} files, seed {asked.seed}", flush=True)
    begun = time.monotonic()
    good = fuzz(asked.count, asked.seed)
    print(f"{good} good, {asked.count - good} refused with their places, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
