"""Everything a run writes and shows, in one place: metrics, rollouts, checkpoints, the display."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from agentscope_tuner.checkpoint import CheckpointStore
from agentscope_tuner.engine.base import Engine
from agentscope_tuner.monitor.base import Monitor
from agentscope_tuner.monitor.console import ConsoleMonitor
from agentscope_tuner.monitor.curve import draw_reward_curve
from agentscope_tuner.monitor.jsonl import MetricsFile
from agentscope_tuner.rollout.store import write_rollouts
from agentscope_tuner.trajectory import Rollout, RolloutGroup
