"""Which fields of a sample hold what somebody wrote down to learn from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agentscope_tuner.config.keys import Section, effect


class ConversationFields(Section):
    """Names of a written sample's fields in its file; empty: not read."""

    messages: str = effect("messages", "A conversation, in sft and mix; what a pair begins with.")
    tools: str = effect("tools", "The tools that a conversation or a pair offers.")
    prompt: str = effect("prompt", "What `response` answers; what a pair begins with.")
    response: str = effect("response", "In place of `messages`: an answer to `prompt`.")


class WrittenFields(ConversationFields):
    """Names of a written sample's fields in its file; empty: not read."""

    chosen: str = effect("chosen", "The better side of a pair, in dpo.")
    rejected: str = effect("rejected", "The worse side of a pair, in dpo.")
    text: str = effect("text", "Raw text, in cpt.")


READ: Mapping[str, tuple[str, ...]] = {
    "conversations": ("messages", "tools", "prompt", "response"),
    "pairs": ("messages", "tools", "prompt", "chosen", "rejected"),
    "texts": ("text",),
}
"""What is read of a sample, by the data that an algorithm learns from; none of a task."""


def unread(fields: WrittenFields, data: str) -> Iterator[str]:
    """Fields that were given a name, but that nothing reads where `data` are learnt from."""
    defaults = WrittenFields()
    for name in WrittenFields.model_fields:
        given = getattr(fields, name) != getattr(defaults, name)
        if given and name not in READ.get(data, ()):
            yield name
