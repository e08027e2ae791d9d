from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from agentscope_tuner.monitor.curve import draw_reward_curve, running_mean


def colours(tmp_path: Path, records: list[dict[str, float | None]]) -> int:
    """How many colours the picture of these records has."""
    metrics, picture = tmp_path / "metrics.jsonl", tmp_path / "reward_curve.png"
    metrics.write_text("".join(json.dumps(record) + "\n" for record in records))
    draw_reward_curve(metrics, picture)
    pixels = (imread(picture) * 255).round().astype(np.uint8)
    return len(np.unique(pixels.view(np.uint32)))


def test_rewards_and_evaluations_are_drawn(tmp_path: Path) -> None:
    empty = colours(tmp_path, [])
    training = [{"step": step, "reward/mean": step / 10} for step in range(1, 9)]
    drawn = colours(tmp_path, [*training])
    evaluated = colours(tmp_path, [{"step": 0, "eval/test/reward/mean": 0.1}, *training])
    assert empty < drawn < evaluated


def test_a_step_without_reward_leaves_a_gap(tmp_path: Path) -> None:
    assert colours(tmp_path, [{"step": 1, "reward/mean": 0.1}, {"step": 2, "reward/mean": None}])


def test_a_run_on_demonstrations_has_its_loss_drawn(tmp_path: Path) -> None:
    losses = [{"step": step, "policy/loss": 1 / step} for step in range(1, 9)]
    assert colours(tmp_path, losses) > colours(tmp_path, [])


def test_the_running_mean_looks_back_only_and_leaves_gaps_out() -> None:
    values = np.array([1.0, 3.0, math.nan, 5.0, math.nan, math.nan, math.nan])
    means = running_mean(values, window=3)
    assert means.tolist() == pytest.approx([1, 2, 2, 4, 5, 5, math.nan], nan_ok=True)
