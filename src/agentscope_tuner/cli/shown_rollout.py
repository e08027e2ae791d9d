"""A rollout in the terminal: conversation, tokens as the learner sees them, what came of it."""

from __future__ import annotations

from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text

from agentscope_tuner.monitor.conversation import said
from agentscope_tuner.trajectory import AuxiliaryCall, Call, Rollout, Trajectory
from agentscope_tuner.visible import visible

TRAINED = "black on green"
FORCED = "black on yellow"
PROMPT = "dim"
OPEN, CLOSE = "⟦", "⟧"
"""Around what was sampled, for output without colours."""


class Decoder(Protocol):
    """Whatever knows the text of tokens: a tokenizer, or what a run directory keeps of it."""

    def decode(self, token_ids: list[int], /) -> Any: ...


def show_rollout(rollout: Rollout, tokenizer: Decoder, console: Console) -> None:
    """Print the rollout's calls, its token tree, what was said to other models, and its outcome."""
    for number, call in enumerate(rollout.trajectory.calls, start=1):
        console.print(Panel(_conversation(call), title=_call_title(number, call), expand=False))
    legend = Text.assemble(
        "tokens as the learner sees them: ",
        ("given", PROMPT),
        ", ",
        (f"{OPEN}sampled and trained on{CLOSE}", TRAINED),
        ", ",
        ("sampled, but no other token was possible: not trained on", FORCED),
    )
    console.print(legend)
    for number, leaf in enumerate(rollout.trajectory.leaves(), start=1):
        branch = _tokens(rollout.trajectory, leaf, tokenizer)
        console.print(Panel(branch, title=f"branch {number}", expand=False))
    for other in rollout.auxiliary_calls:
        title = _plain(f"{other.model} ({other.finish_reason}, {other.seconds:.2f} s)")
        console.print(Panel(_conversation(other), title=title, expand=False))
    console.print(_outcome(rollout), highlight=False)


def _call_title(number: int, call: Call) -> str:
    branch = f", a new branch: {call.branch}" if call.branch else ""
    return f"call {number} ({call.finish_reason}, {call.seconds:.2f} s{branch})"


def _conversation(call: Call | AuxiliaryCall) -> Text:
    text = Text()
    for message in [*call.messages, call.response]:
        text.append(visible(f"{message['role']}: "), style="bold")
        text.append(visible(" ".join(said(message))) + "\n")
    if call.tools:
        names = ", ".join(tool["function"]["name"] for tool in call.tools)
        text.append(visible(f"tools: {names}\n"), style="italic")
    text.rstrip()
    return text


def _tokens(trajectory: Trajectory, leaf: int, tokenizer: Decoder) -> Text:
    text = Text()
    for index in trajectory.path(leaf):
        segment = trajectory.segments[index]
        if segment.sampled is None:
            text.append(_decode(tokenizer, segment.token_ids), style=PROMPT)
            continue
        text.append(OPEN)
        trained = set(segment.sampled.trained().tolist())
        for at, token in enumerate(segment.token_ids):
            text.append(_decode(tokenizer, [token]), style=TRAINED if at in trained else FORCED)
        text.append(CLOSE)
    return text


def _decode(tokenizer: Decoder, token_ids: list[int]) -> str:
    text = tokenizer.decode(token_ids)
    assert isinstance(text, str), "one sequence decodes to one text"
    return visible(text)


def _plain(text: str) -> str:
    """As text that neither the terminal nor rich obeys."""
    return escape(visible(text))


def _outcome(rollout: Rollout) -> str:
    trajectory = rollout.trajectory
    lines = [
        f"calls {len(trajectory.calls)}, branches {len(trajectory.leaves())}, "
        f"tokens sampled {trajectory.sampled_tokens}, trained on {trajectory.trained_tokens}, "
        f"time {rollout.seconds:.2f} s"
    ]
    if rollout.error is not None:
        kind, message = rollout.error.kind, _plain(rollout.error.message)
        lines.append(f"[bold]failed[/] ({kind}): {message}")
        if rollout.error.traceback:
            lines.append(_plain(rollout.error.traceback))
    else:
        lines.append(f"response: {_plain(rollout.response)}")
        if rollout.reward is not None:  # a demonstration has none
            lines.append(f"[bold]reward {rollout.reward:g}[/]")
        if rollout.explanation:
            lines.append(f"the judge: {_plain(rollout.explanation)}")
        if rollout.advantage is not None:
            lines.append(f"advantage {rollout.advantage:.3f}")
        if rollout.shaped_reward is not None:
            lines.append(f"reward learnt {rollout.shaped_reward:g}")
        if rollout.left_out:
            lines.append(f"left out by {_plain(rollout.left_out)}: not learnt from")
    lines += [f"{_plain(name)} = {value:g}" for name, value in rollout.metrics.items()]
    return "\n".join(lines)
