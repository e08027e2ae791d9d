"""Reading what workflows and judges returned, into plain data that holds nothing of theirs.

Outputs are known by their fields, not their class, so that AgentScope's own `WorkflowOutput` and
`JudgeOutput` serve as well. To be called behind `boundary`: the objects are the user's code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agentscope_tuner.plain_text import plain_text
from agentscope_tuner.rollout.boundary import RolloutFailure, guarded
from agentscope_tuner.workflow import finite_number

MAX_REWARD = 1e30
"""A greater one would overflow where its square is taken, and learning with it."""
MAX_NAME = 200
"""Characters of a metric's name."""
MAX_SHOWN = 100
"""Characters that are shown of a value."""


def check_fields(role: str, output: Any) -> None:
    """Raise RolloutFailure (`output`) unless `output` looks like what this function returns."""
    wanted = ("reward", "response", "metrics") if role == "workflow" else ("reward", "metrics")
    if not all(hasattr(output, field) for field in wanted):
        raise RolloutFailure(
            "output",
            f"The {role} function returned a {_type(output)}; "
            f"it must return a {role.capitalize()}Output.",
        )


def read_reward(role: str, reward: Any) -> float:
    """The reward as a finite float; raises RolloutFailure (`output`)."""
    if reward is None and role == "workflow":
        raise RolloutFailure(
            "output", "There is no reward: return a reward from the workflow or pass judge_func."
        )
    number = _number(reward)
    if number is None:
        raise RolloutFailure(
            "output", f"The {role}'s reward must be a finite number, not {_shown(reward)}."
        )
    if abs(number) > MAX_REWARD:
        raise RolloutFailure(
            "output", f"The {role}'s reward must be within {MAX_REWARD:g}, not {number:g}."
        )
    return number


def read_metrics(role: str, metrics: Any) -> tuple[dict[str, float], dict[str, str]]:
    """The metrics as `<role>/<name>`, and what the others are, which are no finite numbers.

    Raises RolloutFailure (`output`) if they are no dictionary.
    """
    if not isinstance(metrics, Mapping | None):
        raise RolloutFailure(
            "output",
            f"The {role}'s metrics must be a dictionary or None, not a {_type(metrics)}.",
        )
    numbers, others = {}, {}
    for name, value in (metrics or {}).items():
        key = f"{role}/{plain_text(str(name), MAX_NAME)}"
        number = _number(value)
        if number is None:
            others[key] = _shown(value)
        else:
            numbers[key] = number
    return numbers, others


def read_steps(role: str, output: Any, calls: int) -> tuple[list[float] | None, list[str] | None]:
    """The rewards and the state keys of single calls, as far as the output has any.

    Raises RolloutFailure (`output`) unless there is one for each of the `calls` model calls.
    """
    rewards = _one_a_call(role, "step_rewards", output, calls)
    keys = _one_a_call(role, "state_keys", output, calls)
    return (
        None if rewards is None else [read_reward(role, reward) for reward in rewards],
        None if keys is None else [plain_text(str(key)) for key in keys],
    )


def _one_a_call(role: str, field: str, output: Any, calls: int) -> list[Any] | None:
    values = getattr(output, field, None)
    if values is None:
        return None
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise RolloutFailure(
            "output", f"The {role}'s {field} must be a list, not {_shown(values)}."
        )
    values = list(values)
    if len(values) != calls:
        raise RolloutFailure(
            "output",
            f"The {role}'s {field} are {len(values)}, but the model was called {calls} times: "
            "give one for each call.",
        )
    return values


def read_explanation(explanation: Any) -> str:
    """The judge's explanation; raises RolloutFailure (`output`) if it is no text."""
    if not isinstance(explanation, str | None):
        raise RolloutFailure(
            "output",
            f"The judge's explanation must be text or None, not a {_type(explanation)}.",
        )
    return plain_text(explanation or "")


def response_text(response: Any) -> str:
    """A response as text for people to read; a message's text if it is one."""
    if response is None:
        return ""
    if hasattr(response, "get_text_content"):
        response = response.get_text_content() or ""
    return plain_text(str(response))


def _number(value: Any) -> float | None:
    return guarded(lambda: finite_number(value), None)


def _shown(value: Any) -> str:
    text = guarded(lambda: plain_text(repr(value), MAX_SHOWN), "something that cannot be shown")
    return f"{text} ({_type(value)})"


def _type(value: Any) -> str:
    return guarded(lambda: plain_text(type(value).__name__), "?")
