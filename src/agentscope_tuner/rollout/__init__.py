"""Rollouts: workflows run with deadlines and retries, and their failures kept as data."""

from agentscope_tuner.rollout.metrics import summarize
from agentscope_tuner.rollout.runner import RolloutRunner
from agentscope_tuner.rollout.store import read_rollouts, rollouts_path, write_rollouts

__all__ = ["RolloutRunner", "read_rollouts", "rollouts_path", "summarize", "write_rollouts"]
