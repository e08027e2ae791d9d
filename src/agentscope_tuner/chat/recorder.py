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

from agentscope_tuner.chat.messages import ChatMessage, message_key, reasoning_differs
from agentscope_tuner.chat.plan import Draft, Node, Plan, Settings, Turn
from agentscope_tuner.chat.rendering import ChatRenderer, Tools
from agentscope_tuner.trajectory import Call, Sampled, Segment, Trajectory


class Recorder:
    """Records the calls of one rollout to one model. Used from one event loop."""

    def __init__(self, trajectory: Trajectory) -> None:
        self._trajectory = trajectory
        self._root = Node()
        self._prompts: dict[tuple[int | None, tuple[int, ...]], int] = {}

    def draft(self, messages: list[ChatMessage], tools: Tools | None, settings: Settings) -> Draft:
        """Find the turn that a request extends; it is taken until the draft is given up."""
        turn, depth, cause = self._match(messages, settings)
        if turn is None:
            return Draft(messages, tools, settings, cause=cause)
        turn.taken += 1
        kept = self._trajectory.token_ids(turn.segment)
        sampled = len(self._trajectory.segments[turn.segment].token_ids)
        return Draft(messages, tools, settings, cause, turn, depth, kept, sampled)

    def plan(
        self,
        renderer: ChatRenderer,
        messages: list[ChatMessage],
        tools: Tools | None,
        settings: Settings,
    ) -> Plan:
        """The prompt for `messages`: earlier tokens kept where it extends an earlier call.

        RequestError if the template refuses the messages.
        """
        draft = self.draft(messages, tools, settings)
        try:
            return draft.plan(draft.write(renderer))
        except BaseException:
            draft.give_up()
            raise

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
            node = node.children.setdefault(message_key(message), Node())
        if plan.settings not in node.asked:
            node.asked.append(plan.settings)
        node = node.children.setdefault(message_key(response), Node())
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
