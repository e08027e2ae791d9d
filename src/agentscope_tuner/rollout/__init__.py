"""Rollouts: workflows run with deadlines and retries, and their failures kept as data."""

from agentscope_tuner.rollout.metrics import summarize
from agentscope_tuner.rollout.runner import RolloutRunner

__all__ = ["RolloutRunner", "summarize"]
