"""The JSON Schema of prompt files (Draft 2020-12), made from the very types that decode them.  PURE

An editor that finds it under `"$schema"` completes keys and checks values as the daemon will. What no
schema can say (a key given twice, half a character, a sampler and a scheduler that do not go together) only
the daemon refuses.
"""

from functools import cache
from typing import Any

import msgspec

from daemon.samplers import SAMPLERS, SCHEDULERS, patterns
from daemon.sheets import Several, Single

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@cache
def text() -> bytes:
    """The schema as a file: indented JSON, the same bytes each time."""
    return msgspec.json.format(msgspec.json.encode(schema()), indent=2) + b"\n"


def schema() -> dict[str, Any]:
    """The schema of one prompt file, or of one line of a `.jsonl` file."""
    forms, parts = msgspec.json.schema_components([Single, Several], ref_template="#/$defs/{name}")
    for part in ("Single", "Part"):
        _name_samplers(parts[part]["properties"])
    # All that `Part()` holds stands at the keys themselves.
    del parts["Several"]["properties"]["defaults"]["default"]
    parts["Several"] |= {"anyOf": [_PROMPT_BY_DEFAULT, _PROMPT_IN_EACH]}
    return {
        "$schema": DIALECT,
        "title": "Safelight prompt file",
        "description": "One job, or several with what they have in common.",
        "type": "object",
        "anyOf": list(forms),
        "$defs": parts,
    }


def _name_samplers(properties: dict[str, Any]) -> None:
    """Have an editor offer the names, and know each spelling that is understood."""
    spelt = patterns()
    for key, names in (("sampler", [*SAMPLERS]), ("scheduler", [*SCHEDULERS])):
        text = next(option for option in properties[key]["anyOf"] if option.get("type") == "string")
        text["anyOf"] = [{"enum": names}, {"pattern": spelt[key]}]


_PROMPT_BY_DEFAULT = {"properties": {"defaults": {"required": ["prompt"]}}, "required": ["defaults"]}
_PROMPT_IN_EACH = {"properties": {"jobs": {"items": {"required": ["prompt"]}}}}
