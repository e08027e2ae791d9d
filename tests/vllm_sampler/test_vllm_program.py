"""A run whose model vLLM samples."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.runs.rollouts import read_rollouts, rollouts_path

ROOT = Path(__file__).parents[2]
STEPS = 3
PROCESS = ", metrics={'process': __import__('os').getpid()}"


def tuned(directory: Path, data: Path, model: Path, **more: object) -> Path:
    """The run directory of three steps of the guide's program."""
    settings = {
        "buffer.explorer_input.taskset.path": data,
        "buffer.explorer_input.eval_tasksets.0.path": data,
        "model.model_path": model,
        "model.max_model_len": 256,
        "model.max_response_tokens": 8,
        "buffer.total_steps": STEPS,
        "buffer.batch_size": 2,
        "algorithm.repeat_times": 4,
        "algorithm.optimizer.lr": 1e-3,
        "explorer.rollout_model.engine_type": "vllm",
        "explorer.rollout_model.dtype": "float32",
        "explorer.rollout_model.kv_cache_memory_bytes": 2**26,
        "name": "three",
        **more,
    }
    given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    text = (ROOT / "examples" / "agentscope2" / "main.py").read_text()
    right = '1.0 if numbers and numbers[-1] == task["answer"] else 0.0'  # which no answer is
    judged = text.replace(right, f"len(response.get_text_content() or '') / 100{PROCESS}")
    assert PROCESS in judged
    program = directory / "main.py"
    program.write_text(judged)
    done = subprocess.run(
        [sys.executable, "-m", "agentscope_tuner", "run", str(program), *given],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory / "checkpoints" / "AgentScope" / "three"


def check(run: Path) -> set[float]:
    """Hold a run's steps against what they must be; returns the processes that rolled out."""
    processes = set()
    for step in range(1, STEPS + 1):
        rollouts = list(read_rollouts(rollouts_path(run, step, None)))
        assert len(rollouts) == 8
        assert all(rollout.error is None for rollout in rollouts)
        versions = {
            segment.sampled.version
            for rollout in rollouts
            for segment in rollout.trajectory.segments
            if segment.sampled is not None
        }
        assert versions == {step - 1}
        processes |= {rollout.metrics["judge/process"] for rollout in rollouts}
    steps = [record for record in read_metrics(run / "metrics.jsonl") if "time/train" in record]
    assert [record["step"] for record in steps] == [1, 2, 3]
    assert max(record["policy/kl_sampler_learner"] for record in steps) < 1e-5
    return processes


def test_the_guides_program_tunes(tmp_path: Path, sums: Path, tiny_model: Path) -> None:
    assert len(check(tuned(tmp_path, sums, tiny_model))) == 1


def test_rollout_actors_of_a_cluster_sample_with_vllm(
    tmp_path: Path, sums: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # before it is imported
    with import_module("two_nodes").two_nodes() as cluster:
        place = {"cluster.ray_address": cluster.address, "explorer.rollout_model.engine_num": 2}
        assert len(check(tuned(tmp_path, sums, tiny_model, **place))) == 2
