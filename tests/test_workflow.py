"""ComfyUI's graphs: the default text-to-image shape becomes a prompt, what else is on the way is named."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import workflow
from daemon.workflow import Unreadable
from tests.pictures import graph

Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> dict[str, Any]:
    """The default graph after a change."""
    nodes: dict[str, Any] = graph()
    change(nodes)
    return nodes


def lora(nodes: dict[str, Any]) -> None:
    """Two LoRAs between checkpoint and sampler."""
    first = {
        "lora_name": "detail.safetensors",
        "strength_model": 0.8,
        "strength_clip": 0.5,
        "model": ["4", 0],
    }
    second = {"lora_name": "xl\\ink.safetensors", "strength_model": 1.0, "model": ["20", 0]}
    nodes["20"] = {"class_type": "LoraLoader", "inputs": first}
    nodes["21"] = {"class_type": "LoraLoaderModelOnly", "inputs": second}
    nodes["3"]["inputs"]["model"] = ["21", 0]


def test_the_default_workflow_is_read_whole() -> None:
    """Every value that a prompt can say."""
    carried = workflow.read(graph())
    assert carried.rest == []
    assert carried.keys == {
        "prompt": 'a bottle with a "galaxy" in it',
        "negative_prompt": "text, watermark",
        "seed": 156680208700286,
        "steps": 20,
        "cfg_scale": 8,
        "sampler": "euler",
        "scheduler": "normal",
        "width": 1024,
        "height": 768,
        "model": "sd_xl_base_1.0",
    }


@pytest.mark.parametrize(
    ("change", "keys", "rest"),
    [
        pytest.param(
            lora,
            {"loras": [{"name": "detail", "weight": 0.8}, {"name": "ink", "weight": 1.0}]},
            ["strength_clip of detail: 0.5"],
            id="LoRAs",
        ),
        pytest.param(
            lambda nodes: nodes["5"]["inputs"].update(batch_size=4),
            {"count": 4},
            ["batch_size: 4 (here each picture after the first has a seed of its own)"],
            id="a batch",
        ),
        pytest.param(
            lambda nodes: nodes["3"]["inputs"].update(denoise=0.6), {}, ["denoise: 0.6"], id="half a denoise"
        ),
        pytest.param(
            lambda nodes: nodes.update({"30": {"class_type": "UpscaleModelLoader", "inputs": {}}}),
            {},
            ["node 30: UpscaleModelLoader"],
            id="a node that is not on the way",
        ),
        pytest.param(
            lambda nodes: (
                nodes.update({"40": {"class_type": "PrimitiveInt", "inputs": {"value": 5}}}),
                nodes["3"]["inputs"].update(seed=["40", 0]),
            ),
            {"seed": 5},
            [],
            id="a seed from a node of its own",
        ),
        pytest.param(
            lambda nodes: nodes.update(
                {"6": {"class_type": "CLIPTextEncodeSDXL", "inputs": {"text_g": "a fox", "text_l": "ink"}}}
            ),
            {"prompt": "a fox"},
            ["text_l of the positive prompt: ink"],
            id="SDXL's two texts",
        ),
        pytest.param(
            lambda nodes: nodes.update(
                {"7": {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["6", 0]}}}
            ),
            {"negative_prompt": ""},
            [],
            id="no negative prompt",
        ),
    ],
)
def test_what_is_close_to_the_shape_is_read_and_the_rest_named(
    change: Change, keys: dict[str, Any], rest: list[str]
) -> None:
    """Nothing is lost in silence."""
    plain, carried = workflow.read(graph()), workflow.read(changed(change))
    assert carried.keys == {**plain.keys, **keys}
    assert carried.rest == rest


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(lambda nodes: nodes.pop("3"), "has none", id="no sampler"),
        pytest.param(
            lambda nodes: nodes.update({"10": nodes["3"]}), r"KSampler \(3\), KSampler \(10\)", id="two"
        ),
        pytest.param(
            lambda nodes: nodes["3"].update(class_type="KSamplerAdvanced"), "KSamplerAdvanced", id="advanced"
        ),
        pytest.param(lambda nodes: nodes.pop("4"), "model leads nowhere", id="no checkpoint"),
        pytest.param(
            lambda nodes: nodes["4"].update(class_type="UNETLoader"), "UNETLoader", id="no SDXL file"
        ),
        pytest.param(
            lambda nodes: nodes["5"].update(class_type="VAEEncode"), "VAEEncode", id="image to image"
        ),
        pytest.param(
            lambda nodes: nodes["6"].update(class_type="ConditioningCombine"),
            "Combine",
            id="combined prompts",
        ),
        pytest.param(
            lambda nodes: nodes["6"]["inputs"].update(text=3), "is no text", id="a number for a prompt"
        ),
        pytest.param(
            lambda nodes: nodes["3"]["inputs"].update(seed={"a": 1}),
            "neither text",
            id="an object for a seed",
        ),
        pytest.param(
            lambda nodes: (
                nodes.update({"40": {"class_type": "Loop", "inputs": {"value": ["40", 0]}}}),
                nodes["3"]["inputs"].update(seed=["40", 0]),
            ),
            "circle",
            id="a circle",
        ),
        pytest.param(lambda nodes: nodes["3"].update(inputs=7), "leads nowhere", id="no inputs"),
    ],
)
def test_another_shape_is_refused_by_what_it_has(change: Change, why: str) -> None:
    """The message names the node."""
    with pytest.raises(Unreadable, match=why):
        workflow.read(changed(change))


def test_a_prompt_file_is_no_workflow() -> None:
    """Nor is anything else that happens to be JSON."""
    assert workflow.is_workflow(graph())
    others: list[object] = [
        {},
        [],
        None,
        {"prompt": "a"},
        {"jobs": [{"prompt": "a"}]},
        {"1": {"class_type": 3}},
    ]
    for value in others:
        assert not workflow.is_workflow(value)


VALUES = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
@settings(max_examples=200)
def test_no_graph_breaks_the_reader(data: st.DataObject) -> None:
    """Any input of any node replaced by anything: it is read, or refused with a reason."""
    nodes: dict[str, Any] = graph()
    for _ in range(data.draw(st.integers(1, 3))):
        node = nodes[data.draw(st.sampled_from(sorted(nodes)))]
        links = st.tuples(st.sampled_from(sorted(nodes)), st.integers(0, 3)).map(list)
        node["inputs"][data.draw(st.sampled_from(sorted(node["inputs"])))] = data.draw(VALUES | links)
    with suppress(Unreadable):
        msgspec.json.encode(workflow.read(nodes).rest)
