"""Built-in judges of `select_model`: less is better."""

from __future__ import annotations

from typing import Any

from agentscope_tuner.workflow import JudgeOutput


async def avg_time_judge(task: dict[str, Any], response: Any) -> JudgeOutput:
    """The reward is the negative time of the workflow, in seconds.

    Raises ValueError if `response` is not what `select_model` hands to judges.
    """
    seconds = _metric(response, "execution_time")
    return JudgeOutput(reward=-seconds, metrics={"avg_time_seconds": seconds})


async def avg_token_consumption_judge(task: dict[str, Any], response: Any) -> JudgeOutput:
    """The reward is the negative number of tokens, read and written, of the workflow's calls.

    Raises ValueError if the model does not report its tokens.
    """
    tokens = _metric(response, "total_tokens")
    return JudgeOutput(reward=-tokens, metrics={"token_consumed": tokens})


def _metric(response: Any, name: str) -> float:
    metrics = response.get("metrics") if isinstance(response, dict) else None
    if not isinstance(metrics, dict) or name not in metrics:
        raise ValueError(
            f"there is no {name!r} in the response's metrics: this judge is for select_model, and "
            "token counts are there if the model reports them for every call"
        )
    return float(metrics[name])
