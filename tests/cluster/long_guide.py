"""The guide's program on a cluster that was started as the guide says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from started import RAY, free_port, ray_started

from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.runs.rollouts import read_rollouts, rollouts_path

ASTUNER = str(Path(sys.executable).with_name("astuner"))
GUIDE = Path(__file__).parents[2] / "examples" / "arithmetic" / "main.py"
STEPS = 2


@pytest.fixture
def program(tmp_path: Path, tiny_model: Path) -> Path:
    """The guide's program with another model, and a judge that asks a file beside it where it is
    run."""
    directory = tmp_path / "user"
    (directory / "data").mkdir(parents=True)
    for split in ("train", "test"):
        lines = [json.dumps({"question": f"{n} + 1 =", "answer": str(n + 1)}) for n in range(4)]
        (directory / "data" / f"{split}.jsonl").write_text("\n".join(lines))
    (directory / "beside.py").write_text("import os\ndef length(text): return len(text) / 100\n")
    text = GUIDE.read_text()
    model = f'model_path="{tiny_model}", max_model_len=256, max_tokens=8, inference_engine_num=2'
    text = re.sub(r"model_path=.*?max_tokens=24", model, text)
    text = re.sub(r"total_steps=\d+", f"total_steps={STEPS}", text)
    text = text.replace(
        "return JudgeOutput(reward=reward)",
        "import os\n    from beside import length\n    return JudgeOutput("
        "reward=length(response.get_text_content() or ''), metrics={'process': os.getpid()})",
    )
    assert model in text
    assert f"total_steps={STEPS}" in text
    assert "from beside" in text
    (directory / "main.py").write_text(text)
    return directory / "main.py"


def processes_of(runs: Path) -> set[float]:
    """The processes that judged the rollouts of the only run."""
    (run,) = (runs / "checkpoints" / "AgentScope").iterdir()
    assert [record["step"] for record in read_metrics(run / "metrics.jsonl")][-1] == STEPS
    rollouts = [r for step in (1, 2) for r in read_rollouts(rollouts_path(run, step, None))]
    assert len(rollouts) == STEPS * 8 * 8
    assert all(rollout.error is None for rollout in rollouts)
    return {rollout.metrics["judge/process"] for rollout in rollouts}


def test_the_guides_program_runs_on_the_cluster_that_was_started_for_it(
    short_path: Path, program: Path
) -> None:
    environment = {**os.environ, "RAY_TMPDIR": str(short_path)}
    with ray_started(short_path):
        run = subprocess.run(
            [ASTUNER, "run", program.name],
            cwd=program.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
        )
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(processes_of(program.parent)) == 2


def test_a_submitted_job_runs_there_with_the_files_that_were_sent_with_it(
    short_path: Path, program: Path, tmp_path: Path
) -> None:
    dashboard = free_port()
    # One node: two on one machine would share the files that Ray unpacks, and remove each other's.
    with ray_started(short_path, workers=0, cpus=2, dashboard=dashboard):
        command = [RAY, "job", "submit", f"--address=http://127.0.0.1:{dashboard}"]
        command += [f"--working-dir={program.parent}", "--", ASTUNER, "run", "main.py"]
        command += ["--set", f"checkpoint_root_dir={tmp_path}/checkpoints"]
        deadline = time.monotonic() + 100
        while True:
            job = subprocess.run(command, capture_output=True, text=True, timeout=250)
            early = "No available agent to submit job" in job.stderr  # it has just been started
            if not early or time.monotonic() > deadline:
                break
            time.sleep(2)
    assert job.returncode == 0, job.stdout + job.stderr
    assert len(processes_of(tmp_path)) == 2
