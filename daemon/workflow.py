"""ComfyUI's graphs in their API format, in the shape of its default text-to-image workflow.  PURE

`{"3": {"class_type": "KSampler", "inputs": {"seed": 1, "model": ["4", 0], …}}, …}`: a node's input is a
value, or a link to another node's output. Followed from the one KSampler; what is not on the way from
there is named, never guessed.
"""

from typing import Any

from daemon.parameters import Carried

Node = dict[str, Any]
_SILENT = {"VAEDecode", "SaveImage", "PreviewImage", "SaveImageWebsocket", "Note", "MarkdownNote"}
"""Nodes that every picture has, or that do nothing to it."""
_SAMPLING = {
    "seed": "seed",
    "steps": "steps",
    "cfg": "cfg_scale",
    "sampler_name": "sampler",
    "scheduler": "scheduler",
}
_FURTHEST = 50
"""Links that are followed from node to node: more is a circle."""


class Unreadable(Exception):
    """The graph is not of the shape that can be read; the message says in what."""


def is_workflow(value: object) -> bool:
    """Whether a JSON value is a graph in API format at all."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(node, dict) and isinstance(node.get("class_type"), str) for node in value.values())
    )


def read(graph: dict[str, Node]) -> Carried:
    """The keys of a prompt that a graph holds; what else it does is named in `rest`. Raises `Unreadable`."""
    return _Reading(graph).carried()


class _Reading:
    """One walk through a graph."""

    def __init__(self, graph: dict[str, Node]) -> None:
        self._graph = graph
        self._seen: set[str] = set()
        self._rest: list[str] = []

    def carried(self) -> Carried:
        samplers = [name for name, node in self._graph.items() if "Sampler" in node["class_type"]]
        if len(samplers) != 1 or self._graph[samplers[0]]["class_type"] != "KSampler":
            found = ", ".join(f"{self._graph[name]['class_type']} ({name})" for name in samplers[:5])
            raise Unreadable(f"it must have one KSampler and has {found or 'none'}")
        sampler = self._inputs(samplers[0])
        keys: dict[str, Any] = {
            ours: self._plain(sampler[theirs]) for theirs, ours in _SAMPLING.items() if theirs in sampler
        }
        keys["prompt"] = self._words(sampler.get("positive"), "positive")
        keys["negative_prompt"] = self._words(sampler.get("negative"), "negative")
        keys |= self._size(sampler.get("latent_image"))
        keys |= self._model(sampler.get("model"))
        if (denoise := self._plain(sampler.get("denoise", 1))) != 1:
            self._rest.append(f"denoise: {denoise}")
        self._rest += [
            f"node {name}: {node['class_type']}"
            for name, node in self._graph.items()
            if name not in self._seen and node["class_type"] not in _SILENT
        ]
        return Carried(keys=keys, rest=self._rest)

    def _inputs(self, name: str) -> dict[str, Any]:
        self._seen.add(name)
        inputs = self._graph[name].get("inputs")
        return inputs if isinstance(inputs, dict) else {}

    def _linked(self, link: object) -> str | None:
        """The node that a link leads to."""
        match link:
            case [str(name) | int(name), int()] if str(name) in self._graph:
                return str(name)
            case _:
                return None

    def _plain(self, value: Any) -> Any:
        """A value, also where it comes from a node that holds nothing else."""
        for _ in range(_FURTHEST):
            name = self._linked(value)
            if name is None:
                if isinstance(value, list | dict):
                    raise Unreadable("a value of it is neither text nor number")
                return value
            inputs = self._inputs(name)
            if len(inputs) != 1:
                raise Unreadable(f"node {name} ({self._graph[name]['class_type']}) computes a value")
            (value,) = inputs.values()
        raise Unreadable("its links lead in a circle")

    def _words(self, link: object, what: str) -> str:
        name = self._linked(link)
        if name is None:
            raise Unreadable(f"its {what} conditioning leads nowhere")
        kind, inputs = self._graph[name]["class_type"], self._inputs(name)
        if kind == "ConditioningZeroOut":
            return ""
        if kind == "CLIPTextEncode":
            words = self._plain(inputs.get("text"))
        elif kind == "CLIPTextEncodeSDXL":
            words, other = self._plain(inputs.get("text_g")), self._plain(inputs.get("text_l"))
            if other not in (words, ""):
                self._rest.append(f"text_l of the {what} prompt: {other}")
        else:
            raise Unreadable(f"its {what} prompt goes through node {name} ({kind})")
        if not isinstance(words, str):
            raise Unreadable(f"the {what} prompt in node {name} is no text")
        return words

    def _size(self, link: object) -> dict[str, Any]:
        name = self._linked(link)
        if name is None or self._graph[name]["class_type"] != "EmptyLatentImage":
            kind = "nothing" if name is None else f"node {name} ({self._graph[name]['class_type']})"
            raise Unreadable(f"it must begin with an EmptyLatentImage and begins with {kind}")
        inputs = self._inputs(name)
        sizes = ("width", "height")
        keys: dict[str, Any] = {key: self._plain(inputs[key]) for key in sizes if key in inputs}
        count = self._plain(inputs.get("batch_size", 1))
        if count != 1:
            keys["count"] = count
            self._rest.append(
                f"batch_size: {count} (here each picture after the first has a seed of its own)"
            )
        return keys

    def _model(self, link: object) -> dict[str, Any]:
        """Through LoRA loaders to the checkpoint."""
        loras: list[dict[str, Any]] = []
        for _ in range(_FURTHEST):
            name = self._linked(link)
            if name is None:
                raise Unreadable("its model leads nowhere")
            kind, inputs = self._graph[name]["class_type"], self._inputs(name)
            if kind == "CheckpointLoaderSimple":
                keys = {"model": _stem(self._plain(inputs.get("ckpt_name")))}
                return {**keys, "loras": loras[::-1]} if loras else keys
            if kind not in ("LoraLoader", "LoraLoaderModelOnly"):
                raise Unreadable(f"its model goes through node {name} ({kind})")
            weight = self._plain(inputs.get("strength_model", 1.0))
            text = self._plain(inputs.get("strength_clip", weight))
            loras.append({"name": _stem(self._plain(inputs.get("lora_name"))), "weight": weight})
            if text != weight:
                self._rest.append(f"strength_clip of {loras[-1]['name']}: {text}")
            link = inputs.get("model")
        raise Unreadable("its links lead in a circle")


def _stem(name: object) -> str:
    """A file's name as A1111 and people write it: without folder and ending."""
    if not isinstance(name, str):
        raise Unreadable("a loader names no file")
    return name.replace("\\", "/").rpartition("/")[2].removesuffix(".safetensors")
