"""Trinity-RFT's `format` of what somebody wrote down, and this tree's `fields` of the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentscope_tuner.config.trees import Tree
from agentscope_tuner.config.written import READ, WrittenFields
from agentscope_tuner.errors import InputError

THEIRS = {
    "messages": ("messages_key", "message"),
    "tools": ("tools_key", "tools"),
    "prompt": ("prompt_key", "prompt"),
    "response": ("response_key", "response"),
    "chosen": ("chosen_key", "chosen"),
    "rejected": ("rejected_key", "rejected"),
    "text": ("prompt_key", "prompt"),
}
"""What a field's key is called there, and its default."""
DATA = {"dpo": "pairs", "cpt": "texts"}
"""What is learnt from under Trinity's mode train; conversations under its other types."""
_SYSTEM = "write conversations in the field messages, which begin with a system message"
_TEXT = "models read text here"
NOT_READ = {
    "system_prompt": _SYSTEM,
    "system_prompt_key": _SYSTEM,
    "image_key": _TEXT,
    "video_key": _TEXT,
}
"""What would be learnt otherwise without these, and why they are not served."""


def fields_of(form: Mapping[str, Any], algorithm: str, where: str) -> tuple[Tree, Tree]:
    """Our `fields`, and what is left of their `format`, which stands at `where`.

    Raises InputError for a form of samples that is not read.
    """
    data = DATA.get(algorithm, "conversations")
    kind = form.get("prompt_type", "messages")
    if kind not in (("plaintext",) if data == "texts" else ("messages", "plaintext")):
        raise InputError(
            f"{where}.prompt_type is {kind!r}: {data} are read as "
            f"{'plaintext' if data == 'texts' else 'messages or plaintext'}"
        )
    for key, why in NOT_READ.items():
        if form.get(key) is not None:
            raise InputError(f"{where}.{key} is not served: {why}; leave it out")
    found: Tree = {name: form.get(*THEIRS[name]) for name in read_of(data, kind == "plaintext")}
    if data == "conversations" and kind == "plaintext":
        found["messages"] = ""
    if data == "pairs" and kind == "messages":
        found["prompt"] = ""
    defaults = WrittenFields().model_dump()
    moved = {"prompt_type", *(key for key, _ in (THEIRS[name] for name in READ[data]))}
    rest = {key: value for key, value in form.items() if key not in moved}
    return {name: value for name, value in found.items() if value != defaults[name]}, rest


def form_of(fields: Mapping[str, Any], algorithm: str) -> Tree:
    """The opposite, of fields as a tree has them."""
    data = DATA.get(algorithm, "conversations")
    named = {**WrittenFields().model_dump(), **fields}
    plain = not named["messages"] if data == "conversations" else bool(named["prompt"])
    keys = {THEIRS[name][0]: named[name] for name in read_of(data, plain)}
    return {"prompt_type": "plaintext" if plain else "messages", **keys}


def read_of(data: str, plain: bool) -> list[str]:
    """Fields that Trinity reads where samples are plain text, or else messages."""
    unread = ("messages", "tools") if plain else ("prompt", "response")
    return [name for name in READ[data] if name not in unread]
