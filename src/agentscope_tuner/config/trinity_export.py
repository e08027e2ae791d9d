"""A configuration in Trinity-RFT's own form, from a table of our keys and theirs.

What Trinity has no place for is found by reading the file again: whatever comes back otherwise is
said in comments at its head. Rules and operators that Trinity does not know are refused, as a run
without them would be another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from agentscope_tuner.config.keys import Key, Outcome, Path, dotted, values_of
from agentscope_tuner.config.problems import validated
from agentscope_tuner.config.schema import Config
from agentscope_tuner.config.trees import Tree, contains, planted
from agentscope_tuner.config.trinity_experts import with_experts_in_trinitys_place
from agentscope_tuner.config.trinity_names import path_of, with_data_in_trinitys_place
from agentscope_tuner.config.written import ConversationFields, WrittenFields
from agentscope_tuner.config.yaml_file import text_of
from agentscope_tuner.errors import InputError


def trinity_yaml(config: Config) -> str:
    """The text of the file.

    Raises InputError: a rule, a selector or an operator that Trinity does not know, or no length
    of the model, which Trinity wants to be told.
    """
    _refuse_unknown_parts(config)
    _refuse_unknown_length(config)
    tree = _tree(config)
    head = ["# In the form of Trinity-RFT 0.6, written from a configuration of agentscope-tuner."]
    left_out = list(_left_out(config, tree))
    if left_out:
        head += ["# Trinity-RFT has no place for these, so they are not in it:", *left_out]
    return "\n".join(head) + "\n" + text_of(tree)


def _tree(config: Config) -> Tree:
    table = _table()
    tree: Tree = {}
    for key in values_of(config):
        if not _is_written(key, config):
            continue
        name = _at_position_0(key.path)
        here, there = table["values"].get(name, (None, None))
        value = there if name in table["values"] and key.value == here else key.value
        fits, value = _formed(table["form"].get(name), value)
        if fits:
            path = table["another name"].get(name)
            tree = planted(tree, key.path if path is None else path_of(path), value)
    for name, value in table["said anyway"].items():
        if not contains(tree, path_of(name)):
            tree = planted(tree, path_of(name), value)
    return with_experts_in_trinitys_place(with_data_in_trinitys_place(tree))


def _is_written(key: Key, config: Config) -> bool:
    name, table = _at_position_0(key.path), _table()
    if name in table["values"]:
        return True
    if any(name.startswith(section) for section in _idle_sections(config)):
        return False
    is_said = key.is_set or (key.outcome is Outcome.EFFECT and name != _COUNTED_THERE)
    is_empty = key.value == key.default and key.value in (None, "", [], {})
    has_place = name in table["another name"] or name in _MOVED or _reason(key.path) is None
    return is_said and not is_empty and has_place


def _idle_sections(config: Config) -> Iterator[str]:
    """Sections that mean nothing as the rest of the configuration is."""
    algorithm = config.algorithm
    if config.model.lora.rank == 0:
        yield "model.lora."
    if algorithm.algorithm_type != "ppo":
        yield "algorithm.critic."
    if algorithm.kl_loss_fn is None:
        yield "algorithm.kl_loss_fn_args."
    if algorithm.kl_penalty_fn is None:
        yield "algorithm.kl_penalty_fn_args."


_COUNTED_THERE = "cluster.node_num"
"""Trinity counts the machines where it is not told."""
_MOVED = {
    *(f"buffer.explorer_input.taskset.fields.{name}" for name in WrittenFields.model_fields),
    *(f"buffer.experts.fields.{name}" for name in ConversationFields.model_fields),
    *(f"buffer.experts.{key}" for key in ("path", "split", "subset_name", "expert_data_ratio")),
}
"""Keys without a place of their own that some rules find elsewhere."""


def _formed(form: str | None, value: Any) -> tuple[bool, Any]:
    """Whether a value can be written in a form, and how."""
    match form:
        case "whole":
            return float(value).is_integer(), int(value)
        case "text":
            return isinstance(value, str), value
        case "one":
            return len(value) == 1, value[0] if value else None
    return True, value


def _left_out(config: Config, tree: Tree) -> Iterator[str]:
    """What the file says otherwise than the configuration, a comment each."""
    read = {key.name: key.value for key in values_of(validated(tree, lambda path: "the export"))}
    for key in values_of(config):
        if key.value != read.get(key.name, key.default):
            why = _reason(key.path) or "no such value"
            yield f"#   {key.name}: {json.dumps(key.value, default=str)} ({why})"


def _reason(path: Path) -> str | None:
    """Why Trinity has no place for a key; None: it has one."""
    name, reasons = _at_position_0(path), _table()["not there"]
    above = [".".join(name.split(".")[:end]) for end in range(len(path), 0, -1)]
    return next((reasons[section] for section in above if section in reasons), None)


def _refuse_unknown_parts(config: Config) -> None:
    sentences = []
    for key in values_of(config):
        known = _table()["parts"].get(_at_position_0(key.path))
        if known is not None and key.value is not None and key.value not in known.split():
            names = ", ".join(sorted(known.split()))
            sentences.append(
                f"{key.name} {key.value} is not known to Trinity-RFT, which has {names}"
            )
    if sentences:
        raise InputError("; ".join(sentences))


def _refuse_unknown_length(config: Config) -> None:
    model = config.model
    if model.max_model_len is None and None in (model.max_prompt_tokens, model.max_response_tokens):
        raise InputError(
            "Trinity-RFT wants to be told how long prompt and answer may be together: give "
            "model.max_model_len, with --set for one"
        )


def _at_position_0(path: Path) -> str:
    return dotted(tuple(0 if isinstance(part, int) else part for part in path))


@cache
def _table() -> dict[str, dict[str, Any]]:
    text = files("agentscope_tuner.config").joinpath("trinity_export.yaml").read_text("utf-8")
    table: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return table
