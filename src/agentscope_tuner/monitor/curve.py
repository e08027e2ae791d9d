"""The picture of a run: reward by step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.monitor.summary import LOSS, REWARD, eval_rewards, training_key

_COLOR = "tab:blue"


def draw_reward_curve(metrics_path: Path, png_path: Path) -> None:
    """Draw the training reward, its running mean and the evaluations of a `metrics.jsonl`.

    A run on demonstrations has no reward: its loss is drawn, or its evaluations if it has any.

    Raises:
        RunError: the file is damaged.
    """
    records = read_metrics(metrics_path)
    # A figure of its own, not pyplot's, so that drawing works in any thread and leaks nothing.
    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_evaluations(axes, records)
    # Loss and reward have no axis in common.
    key = REWARD if axes.lines else training_key(records)
    _draw_training(axes, records, key)
    measure = "loss" if key == LOSS else "reward"
    axes.set_title(f"{measure.title()} of {metrics_path.resolve().parent.name}")
    axes.set_xlabel("step")
    axes.set_ylabel(f"mean {measure}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(frameon=False)
    figure.savefig(png_path)


def running_mean(values_S: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Mean of each value and up to `window - 1` before it, leaving NaN out."""
    return np.array([_mean(values_S[max(0, i + 1 - window) : i + 1]) for i in range(len(values_S))])


def _draw_training(axes: Axes, records: Sequence[Mapping[str, float]], key: str) -> None:
    values = {record["step"]: record[key] for record in records if key in record}
    if not values:
        return
    steps_S = np.array(list(values))
    values_S = np.array(list(values.values()))
    window = max(3, len(values) // 10)
    axes.plot(steps_S, values_S, color=_COLOR, linewidth=0.8, alpha=0.45, label="training")
    smooth_S = running_mean(values_S, window)
    label = f"training, mean of {window} steps"
    axes.plot(steps_S, smooth_S, color=_COLOR, linewidth=2, label=label)


def _draw_evaluations(axes: Axes, records: Sequence[Mapping[str, float]]) -> None:
    points: dict[str, dict[float, float]] = defaultdict(dict)
    for record in records:
        for name, reward in eval_rewards(record).items():
            points[name][record["step"]] = reward
    for index, (name, rewards) in enumerate(points.items(), 1):
        line = axes.plot(
            list(rewards), list(rewards.values()), "o--", color=f"C{index}", label=name
        )
        line[0].set(linewidth=1, markersize=6, zorder=3)
        for step in (min(rewards), max(rewards)):
            axes.annotate(
                f"{rewards[step]:.2f}",
                (step, rewards[step]),
                (0, 8),
                textcoords="offset points",
                ha="center",
                color=f"C{index}",
            )


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
