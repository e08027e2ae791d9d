"""Reading what workflows and judges returned.

Outputs are known by their fields, not their class, so that AgentScope's own `WorkflowOutput` and
`JudgeOutput` serve as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentscope_tuner.rollout.failures import RolloutFailure
from agentscope_tuner.workflow import finite_number


def check_fields(role: str, output: Any) -> None:
    """Raise RolloutFailure (`output`) unless `output` looks like what this function returns."""
    wanted = ("reward", "response", "metrics") if role == "workflow" else ("reward", "metrics")
    if not all(hasattr(output, field) for field in wanted):
        raise RolloutFailure(
            "output",
            f"The {role} function returned a {type(output).__name__}; "
            f"it must return a {role.capitalize()}Output.",
        )


def read_reward(role: str, reward: Any) -> float:
    """The reward as a finite float; raises RolloutFailure (`output`)."""
    if reward is None and role == "workflow":
        raise RolloutFailure(
            "output", "There is no reward: return a reward from the workflow or pass judge_func."
        )
    try:
        return finite_number(reward)
    except ValueError as error:
        raise RolloutFailure("output", f"The {role}'s reward {error}.") from error


def read_metrics(role: str, metrics: Any) -> dict[str, float]:
    """The metrics as `<role>/<name>`; raises RolloutFailure (`output`)."""
    if not isinstance(metrics, Mapping | None):
        raise RolloutFailure(
            "output",
            f"The {role}'s metrics must be a dictionary or None, not a {type(metrics).__name__}.",
        )
    numbers = {}
    for name, value in (metrics or {}).items():
        try:
            numbers[f"{role}/{name}"] = finite_number(value)
        except ValueError as error:
            raise RolloutFailure("output", f"The {role}'s metric {name!r} {error}.") from error
    return numbers


def read_explanation(explanation: Any) -> str:
    """The judge's explanation; raises RolloutFailure (`output`) if it is no text."""
    if not isinstance(explanation, str | None):
        raise RolloutFailure(
            "output",
            f"The judge's explanation must be text or None, not a {type(explanation).__name__}.",
        )
    return explanation or ""


def response_text(response: Any) -> str:
    """A response as text for people to read; a message's text if it is one."""
    if response is None:
        return ""
    if hasattr(response, "get_text_content"):
        return response.get_text_content() or ""
    return str(response)
