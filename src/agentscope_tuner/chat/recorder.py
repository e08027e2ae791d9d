"""From calls to a trajectory: which earlier call a request extends, and what it adds.

The messages of a rollout's calls form a tree (a *conversation tree*): a call hangs below the
message that it sampled. A request walks the tree along its messages; the deepest sampled message on
its way, asked under the same settings, is the turn that it extends. Conversations that differ in a
message, or were asked under other settings, part there and never meet again, however they are
interleaved.

Where a request extends no earlier call, it begins a new branch. A call adds a leaf to the
trajectory exactly if it has a cause:

    new_conversation   its messages begin otherwise than any earlier call's
    history_changed    it shares messages with an earlier call, but not the message sampled there
    tools_changed      as above, or extends it, but with other tools
    settings_changed   ... with other chat-template arguments
    thinking_dropped   the template drops thinking that was sampled
    template           the template does not keep the sampled tokens for another reason
    forked             it extends a call that another call has extended already
    resampled          it asks for another answer to a prompt that has one
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from agentscope_tuner.chat.messages import ChatMessage, message_key, reasoning_differs
from agentscope_tuner.chat.rendering import ChatRenderer, Tools
from agentscope_tuner.trajectory import Call, Sampled, Segment, Trajectory


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
    node: _Node
    """Where the sampled message is in the conversation tree."""
    taken: int = 0
    """Requests that extend it, pending ones included."""


@dataclass(slots=True)
class _Node:
    """A message of the conversation tree."""

    children: dict[Hashable, _Node] = field(default_factory=dict)
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


class Recorder:
    """Records the calls of one rollout to one model. Used from one event loop."""

    def __init__(self, trajectory: Trajectory) -> None:
        self._trajectory = trajectory
        self._root = _Node()
        self._prompts: dict[tuple[int | None, tuple[int, ...]], int] = {}

    def plan(
        self,
        renderer: ChatRenderer,
        messages: list[ChatMessage],
        tools: Tools | None,
        settings: Settings,
    ) -> Plan:
        """The prompt for `messages`: earlier tokens kept where it extends an earlier call.

        The turn that it extends is taken until the plan is given up. RequestError if the template
        refuses the messages.
        """
        turn, depth, cause = self._match(messages, settings)
        if turn is None:
            ids = renderer.render(messages, tools)
            return Plan(ids, messages, tools, settings, cause=cause)
        new_messages = messages[depth:]
        kept = self._trajectory.token_ids(turn.segment)
        sampled = len(self._trajectory.segments[turn.segment].token_ids)
        prompt_ids, completion_ids = kept[:-sampled], kept[-sampled:]
        extended = renderer.extend(prompt_ids, completion_ids, turn.history, new_messages, tools)
        ids = extended or renderer.render(messages, tools)
        if extended is None and ids[: len(kept)] != kept:
            thought = any("reasoning_content" in message for message in turn.history)
            cause = "thinking_dropped" if thought else "template"
            return Plan(ids, messages, tools, settings, cause=cause)
        turn.taken += 1
        return Plan(ids, turn.history + new_messages, tools, settings, turn)

    def give_up(self, plan: Plan) -> None:
        """Free the turn of a plan that sampled nothing."""
        if plan.turn is not None:
            plan.turn.taken -= 1

    def record(
        self,
        plan: Plan,
        token_ids: list[int],
        sampled: Sampled,
        response: ChatMessage,
        *,
        finish_reason: str,
        seconds: float = 0.0,
        began: float = 0.0,
    ) -> None:
        """Add one answer to `plan`'s prompt: its tokens, and the call."""
        trajectory = self._trajectory
        prompt, cause = self._prompt_segment(plan)
        trajectory.segments.append(Segment(prompt, token_ids, sampled))
        segment = len(trajectory.segments) - 1
        tools = list(plan.tools) if plan.tools else None
        trajectory.calls.append(
            Call(segment, plan.messages, tools, response, finish_reason, cause, seconds, began)
        )
        known = plan.turn.history if plan.turn else []
        node = plan.turn.node if plan.turn else self._root
        for message in plan.messages[len(known) :]:
            node = node.children.setdefault(message_key(message), _Node())
        if plan.settings not in node.asked:
            node.asked.append(plan.settings)
        node = node.children.setdefault(message_key(response), _Node())
        node.turns.append(Turn(segment, [*plan.messages, response], plan.settings, node))

    def _prompt_segment(self, plan: Plan) -> tuple[int, str | None]:
        """The segment of `plan`'s prompt, added if it is new, and the cause of a new branch."""
        trajectory = self._trajectory
        parent = plan.turn.segment if plan.turn else None
        kept = len(trajectory.token_ids(parent)) if parent is not None else 0
        added = plan.prompt_ids[kept:]
        key = (parent, tuple(added))
        if key in self._prompts:
            return self._prompts[key], "resampled"
        cause = plan.cause if trajectory.calls else None
        if parent is not None and any(parent == other for other, _ in self._prompts):
            cause = "forked"
        self._prompts[key] = len(trajectory.segments)
        trajectory.segments.append(Segment(parent, added))
        return self._prompts[key], cause

    def _match(
        self, messages: list[ChatMessage], settings: Settings
    ) -> tuple[Turn | None, int, str]:
        """The turn that `messages` extend, how many of them it covers, and why there is none."""
        node, found, depth = self._root, None, 0
        cause = "new_conversation"
        others: list[Settings] = []
        for at, message in enumerate(messages, start=1):
            child = node.children.get(message_key(message))
            if child is None:
                break
            turns = [t for t in child.turns if not reasoning_differs(message, t.history[-1])]
            if child.turns and not turns:
                break
            node = child
            if message["role"] != "system":
                cause = "history_changed"
            others = [*node.asked, *(turn.settings for turn in turns)] or others
            same = [turn for turn in turns if turn.settings == settings]
            if same:
                found, depth = min(same, key=lambda turn: turn.taken), at
        if others and settings not in others:
            same_tools = any(other.tools == settings.tools for other in others)
            cause = "settings_changed" if same_tools else "tools_changed"
        return found, depth, cause
