"""What is known of a request before it is sampled: the turn that it extends, and its prompt."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from agentscope_tuner.chat.messages import ChatMessage
from agentscope_tuner.chat.rendering import ChatRenderer, Tools


@dataclass(frozen=True, slots=True)
class Settings:
    """What a prompt depends on besides messages, as comparable text."""

    tools: str
    template: str


@dataclass(slots=True)
class Turn:
    """A recorded call, as later calls extend it."""

    segment: int
    """Index of the segment that it sampled."""
    history: list[ChatMessage]
    """Its request's messages and the message that it sampled."""
    settings: Settings
    node: Node
    """Where the sampled message is in the conversation tree."""
    taken: int = 0
    """Requests that extend it, pending ones included."""


@dataclass(slots=True)
class Node:
    """A message of the conversation tree."""

    children: dict[Hashable, Node] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    """Calls that sampled this message."""
    asked: list[Settings] = field(default_factory=list)
    """Settings of the calls whose request ended in this message."""


@dataclass(slots=True)
class Plan:
    """A prompt and its place in the trajectory."""

    prompt_ids: list[int]
    messages: list[ChatMessage]
    tools: Tools | None
    settings: Settings
    turn: Turn | None = None
    """The turn whose tokens the prompt begins with."""
    cause: str | None = None
    """Why it begins a new branch, if no turn is extended."""

    def give_up(self) -> None:
        """Free the turn of a plan that sampled nothing."""
        if self.turn is not None:
            self.turn.taken -= 1


@dataclass(slots=True)
class Draft:
    """A request whose place was found and whose prompt is not written yet."""

    messages: list[ChatMessage]
    tools: Tools | None
    settings: Settings
    cause: str | None = None
    turn: Turn | None = None
    depth: int = 0
    """How many of the messages the turn covers."""
    kept: list[int] = field(default_factory=list)
    """The turn's prompt and what was sampled behind it."""
    sampled: int = 0
    """How many of those were sampled."""

    def write(self, renderer: ChatRenderer) -> list[int]:
        """The prompt's tokens; depends on nothing that changes, so it may run in any thread.

        RequestError if the template refuses the messages.
        """
        if self.turn is not None:
            prompt_ids, completion_ids = self.kept[: -self.sampled], self.kept[-self.sampled :]
            new = self.messages[self.depth :]
            extended = renderer.extend(
                prompt_ids, completion_ids, self.turn.history, new, self.tools
            )
            if extended is not None:
                return extended
        return renderer.render(self.messages, self.tools)

    def plan(self, prompt_ids: list[int]) -> Plan:
        """Place the prompt that was written; the turn is freed if it does not begin with it."""
        turn, cause = self.turn, self.cause
        if turn is None:
            return Plan(prompt_ids, self.messages, self.tools, self.settings, cause=cause)
        if prompt_ids[: len(self.kept)] != self.kept:
            self.give_up()
            thought = any("reasoning_content" in message for message in turn.history)
            cause = "thinking_dropped" if thought else "template"
            return Plan(prompt_ids, self.messages, self.tools, self.settings, cause=cause)
        messages = turn.history + self.messages[self.depth :]
        return Plan(prompt_ids, messages, self.tools, self.settings, turn)

    def give_up(self) -> None:
        """Free the turn; once only, however often it is called."""
        if self.turn is not None:
            self.turn.taken -= 1
            self.turn = None
