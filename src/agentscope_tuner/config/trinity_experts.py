"""Trinity-RFT's expert data, brought under the names that this tree has for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentscope_tuner.config.trees import Tree, contains, overridden, value_at, without
from agentscope_tuner.config.trinity_fields import fields_of, form_of

TYPES = ("mix", "mix_chord")
AUXILIARY = ("buffer", "trainer_input", "auxiliary_buffers")
STRATEGY = ("algorithm", "sample_strategy")
ARGUMENTS = ("algorithm", "sample_strategy_args")
NAME = "sft_dataset"
"""Of that buffer, where none is given."""
MOVED = ("path", "split", "subset_name")
SAID_ELSEWHERE = ("name", "storage_type", "schema_type", "total_epochs")
"""Keys of such a buffer that follow from its being expert data."""


def with_experts_in_their_place(tree: Mapping[str, Any]) -> Tree:
    """`mix` and `mix_chord` learn from an auxiliary buffer too, whose name sample_strategy_args
    have; here that is `buffer.experts`.

    Raises InputError for a form of samples that is not read here.
    """
    result: Tree = dict(tree)
    algorithm = result.get("algorithm")
    if not isinstance(algorithm, dict) or algorithm.get("algorithm_type") not in TYPES:
        return result
    arguments = dict(algorithm.get("sample_strategy_args") or {})
    name = arguments.pop("sft_dataset_name", NAME)
    ratio = arguments.pop("expert_data_ratio", None)
    if algorithm.get("sample_strategy") == "mix":
        result = without(result, STRATEGY)
    if contains(result, ARGUMENTS):
        result = without(result, ARGUMENTS)
        if arguments:
            result = overridden(result, {".".join(ARGUMENTS): arguments})
    if ratio is not None:
        result = overridden(result, {"buffer.experts.expert_data_ratio": ratio})
    path = (*AUXILIARY, name)
    if contains(result, path):
        buffer = dict(value_at(result, path) or {})
        where = f"{'.'.join(path)}.format"
        fields, form = fields_of(buffer.pop("format", None) or {}, "mix", where)
        result = overridden(without(result, path), {"buffer.experts.fields": fields})
        for key in (*MOVED, *SAID_ELSEWHERE):
            value = buffer.pop(key, None)
            if key in MOVED and value is not None:
                result = overridden(result, {f"buffer.experts.{key}": value})
        if form:
            result = overridden(result, {where: form})
        if buffer:
            result = overridden(result, {".".join(path): buffer})
    return result


def with_experts_in_trinitys_place(tree: Tree) -> Tree:
    """The opposite: `buffer.experts` as an auxiliary buffer, with `mix` and `mix_chord`."""
    buffer = dict(tree["buffer"])
    experts = dict(buffer.pop("experts", {}))
    tree = {**tree, "buffer": buffer}
    if tree["algorithm"]["algorithm_type"] not in TYPES:
        return tree
    settings: Tree = {
        ".".join(STRATEGY): "mix",
        ".".join((*ARGUMENTS, "sft_dataset_name")): NAME,
        ".".join((*AUXILIARY, NAME, "storage_type")): "file",
        ".".join((*AUXILIARY, NAME, "format")): form_of(experts.pop("fields", {}), "mix"),
    }
    for key, value in experts.items():
        above = (*AUXILIARY, NAME) if key in MOVED else ARGUMENTS
        settings[".".join((*above, key))] = value
    return overridden(tree, settings)
