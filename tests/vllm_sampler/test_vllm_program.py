"""A run whose model vLLM samples."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.runs.rollouts import read_rollouts, rollouts_path

ROOT = Path(__file__).parents[2]
STEPS = 3


def test_the_guides_program_tunes(tmp_path: Path, sums: Path, tiny_model: Path) -> None:
    settings = {
        "buffer.explorer_input.taskset.path": sums,
        "buffer.explorer_input.eval_tasksets.0.path": sums,
        "model.model_path": tiny_model,
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
    }
    given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    text = (ROOT / "examples" / "agentscope2" / "main.py").read_text()
    right = '1.0 if numbers and numbers[-1] == task["answer"] else 0.0'  # which no answer is
    judged = text.replace(right, "len(response.get_text_content() or '') / 100")
    assert judged != text
    program = tmp_path / "main.py"
    program.write_text(judged)
    done = subprocess.run(
        [sys.executable, "-m", "agentscope_tuner", "run", str(program), *given],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "checkpoints" / "AgentScope" / "three"
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
    steps = [record for record in read_metrics(run / "metrics.jsonl") if "time/train" in record]
    assert [record["step"] for record in steps] == [1, 2, 3]
    assert max(record["policy/kl_sampler_learner"] for record in steps) < 1e-5
