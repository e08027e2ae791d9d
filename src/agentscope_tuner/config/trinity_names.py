"""Keys that Trinity-RFT calls otherwise, brought under the names that this tree has for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentscope_tuner.config.keys import Path
from agentscope_tuner.config.trees import Tree, contains, overridden, value_at, without
from agentscope_tuner.config.trinity_experts import with_experts_in_their_place
from agentscope_tuner.config.trinity_fields import DATA, fields_of, form_of
from agentscope_tuner.config.trinity_table import other_names
from agentscope_tuner.errors import InputError

TASKSET = "buffer.explorer_input.taskset"
EXPERIENCE = "buffer.trainer_input.experience_buffer"


def under_our_names(tree: Mapping[str, Any]) -> tuple[Tree, dict[Path, Path]]:
    """The tree with such keys moved, and where each that was moved had been written.

    In a list of sections (`model.lora_configs`) one that is left out counts as Trinity's default.
    Raises InputError if two names of one key say different things.
    """
    tree = with_experts_in_their_place(_with_text_in_its_place(_with_data_in_its_place(tree)))
    result: Tree = dict(tree)
    moved: dict[Path, Path] = {}
    for row in other_names():
        written, ours = path_of(row.name), path_of(row.why)
        if contains(tree, written):
            value = value_at(tree, written)
            result = _emptied(result, written)
        elif path_of(row.section)[-1] == 0 and contains(tree, path_of(row.section)):
            value = None if contains(tree, ours) else row.default
        else:
            continue
        if value is None:
            continue
        value = row.where.get(value, value) if row.where else value
        if contains(tree, ours) and value_at(tree, ours) != value:
            raise InputError(
                f"{row.name} and {row.why} are two names of one setting, but say "
                f"{value_at(tree, written)!r} and {value_at(tree, ours)!r}: leave one of them out"
            )
        result = overridden(result, {row.why: value})
        moved[ours] = written
    return result, moved


def _emptied(tree: Tree, path: Path) -> Tree:
    """`tree` without what was written at `path`, and the sections that this leaves empty."""
    tree = without(tree, path)
    while (path := path[:-1]) and contains(tree, path) and value_at(tree, path) in ({}, []):
        tree = without(tree, path)
    return tree


def _with_data_in_its_place(tree: Mapping[str, Any]) -> Tree:
    """Trinity's mode `train` learns from the file that its experience buffer names; here that is
    the dataset, of which `train_batch_size` samples make a step.

    Raises InputError for a form of samples that is not read here.
    """
    buffer = _section(tree, EXPERIENCE)
    if tree.get("mode") != "train" or buffer.get("storage_type") != "file":
        return dict(tree)
    algorithm = str(_section(tree, "algorithm").get("algorithm_type"))
    names, form = fields_of(buffer.get("format") or {}, algorithm, f"{EXPERIENCE}.format")
    moved = ("path", "split", "subset_name")
    kept = {key: value for key, value in buffer.items() if key not in (*moved, "storage_type")}
    kept["format"] = form
    taskset = {key: buffer[key] for key in moved if key in buffer} | {"fields": names}
    batch = _section(tree, "buffer").get("train_batch_size")
    result = {key: value for key, value in tree.items() if key != "mode"}
    result = overridden(
        result,
        {
            EXPERIENCE: kept,
            "buffer.train_batch_size": None,
            TASKSET: _section(tree, TASKSET) | taskset,
        },
    )
    return result if batch is None else overridden(result, {"buffer.batch_size": batch})


def with_data_in_trinitys_place(tree: Tree) -> Tree:
    """The opposite: what learns from the dataset's samples, in Trinity's mode `train`."""
    algorithm = str(_section(tree, "algorithm").get("algorithm_type"))
    taskset = dict(_section(tree, TASKSET))
    fields = taskset.pop("fields", {})
    if algorithm not in ("sft", *DATA):
        return overridden(tree, {TASKSET: taskset})
    form = form_of(fields, algorithm)
    moved: Tree = {
        key: taskset.pop(key) for key in ("path", "split", "subset_name") if key in taskset
    }
    buffer = _section(tree, EXPERIENCE)
    experience_buffer: Tree = {**buffer, **moved, "storage_type": "file", "format": form}
    tree = overridden(
        tree,
        {
            "mode": "train",
            TASKSET: taskset,
            EXPERIENCE: experience_buffer,
            "buffer.train_batch_size": _section(tree, "buffer")["batch_size"],
        },
    )
    return without(tree, ("buffer", "batch_size"))


def _with_text_in_its_place(tree: Tree) -> Tree:
    """What `cpt` reads is the field that Trinity's `format.prompt_key` of the dataset names."""
    written = path_of(f"{TASKSET}.format.prompt_key")
    reads = _section(tree, "algorithm").get("algorithm_type") == "cpt"
    if not reads or not contains(tree, written):
        return tree
    name = value_at(tree, written)
    return overridden(without(tree, written), {f"{TASKSET}.fields.text": name})


def _section(tree: Mapping[str, Any], name: str) -> dict[str, Any]:
    path = path_of(name)
    found = value_at(tree, path) if contains(tree, path) else None
    return found if isinstance(found, dict) else {}


def path_of(name: str) -> Path:
    """`a.0.b` as `("a", 0, "b")`."""
    return tuple(int(part) if part.isdecimal() else part for part in name.split("."))
