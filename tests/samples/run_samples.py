"""AgentScope's published tuner samples, unchanged, by `astuner check` and two steps.

    python tests/samples/run_samples.py <agentscope-samples>/tuner [sample ...]

Nothing is fetched and no file of a sample is changed: each runs in a copy of its directory, on a
few tasks that we make (`sample_data.py`), with a tiny random model in place of billions of
parameters. Only dataset, models, sizes and the monitor are set. frozen_lake wants gymnasium.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sample_data import DATA

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))


@dataclass(frozen=True)
class Sample:
    """One way to run a sample."""

    directory: str
    arguments: list[str] = field(default_factory=list)
    """Of its script."""
    auxiliary: bool = False
    """Whether it has an auxiliary model."""
    settings: dict[str, object] = field(default_factory=dict)


GAME: dict[str, object] = {
    "buffer.batch_size": 1,  # a game is 60 to 100 calls
    # Every decision is an object: cut off it is none, and the sample ends the game.
    "model.max_response_tokens": 128,
    "explorer.auxiliary_models.0.max_response_tokens": 128,
}
SAMPLES = [
    Sample("math_agent"),
    Sample("data_augment", ["--config", "config_random.yaml"]),
    Sample("data_augment", ["--config", "config_difficulty.yaml"]),
    Sample("frozen_lake"),
    Sample("learn_to_ask", auxiliary=True),
    Sample("email_search", auxiliary=True),
    Sample("werewolves", auxiliary=True, settings=GAME),
    Sample(
        "werewolves",
        auxiliary=True,
        settings=GAME
        | {
            "buffer.explorer_input.taskset.workflow_args.trainable_target": "good_guy",
        },
    ),
]


def settings_of(sample: Sample, directory: Path, model: Path) -> Iterator[str]:
    """What stands in for the sample's dataset, models and sizes."""
    lengths = {"max_model_len": 8192, "max_response_tokens": 24}
    values: dict[str, object] = {
        "name": "two",
        "buffer.explorer_input.taskset.path": directory / "data",
        "buffer.total_steps": 2,
        "buffer.batch_size": 2,
        "buffer.train_batch_size": None,
        "algorithm.repeat_times": 2,
        "model.model_path": model,
        "model.max_prompt_tokens": None,
        "cluster.ray_address": None,
        "explorer.rollout_model.engine_num": 1,
        "monitor.monitor_type": "none",
        **{f"model.{key}": value for key, value in lengths.items()},
    }
    if sample.directory == "data_augment":
        values["buffer.explorer_input.eval_tasksets.0.path"] = directory / "data"
    if sample.auxiliary:
        at = "explorer.auxiliary_models.0"
        values |= {f"{at}.{key}": value for key, value in lengths.items()}
        values |= {f"{at}.model_path": model, f"{at}.max_prompt_tokens": None}
    for key, value in (values | sample.settings).items():
        yield from ("--set", f"{key}={'null' if value is None else value}")


def astuner(command: str, sample: Sample, directory: Path, model: Path) -> str | None:
    """Run it in the sample's directory; the end of what it said if it failed."""
    given = [*settings_of(sample, directory, model), "main.py", *sample.arguments]
    done = subprocess.run(
        [sys.executable, "-m", "agentscope_tuner", command, *given],
        cwd=directory,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            "DEFAULT_EMAIL_DB_PATH": str(directory / "mails.db"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return None if done.returncode == 0 else (done.stdout + done.stderr)[-1500:]


def outcome(sample: Sample, published: Path, model: Path) -> str:
    """One line about a sample."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary) / sample.directory
        shutil.copytree(published / sample.directory, directory)
        DATA[sample.directory](directory)
        began = time.perf_counter()
        for command in ("check", "run"):
            if (said := astuner(command, sample, directory, model)) is not None:
                return f"{command} FAILED\n{said}"
        (run,) = directory.glob("checkpoints/*/two")
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        steps = [line for line in lines if "rollout/failed" in line]
        rewards = ", ".join(f"{line['reward/mean']:.3f}" for line in steps)
        failed = sum(line["rollout/failed"] for line in steps)
        tokens = sum(line["train/tokens"] for line in steps)
        seconds = time.perf_counter() - began
        return (
            f"{len(steps)} steps, reward {rewards}, {failed:.0f} rollouts failed, "
            f"{tokens:.0f} tokens trained, {seconds:.0f} s"
        )


def main(published: Path, wanted: list[str]) -> None:
    """Run all samples, or those whose directory is named."""
    from agentscope_tuner.inference.loading import resolve_model
    from tiny_llama import SMOL, write_tiny_llama

    with tempfile.TemporaryDirectory() as directory:
        model = write_tiny_llama(Path(directory) / "model", resolve_model(SMOL), positions=8192)
        for sample in SAMPLES:
            if not wanted or sample.directory in wanted:
                name = " ".join([sample.directory, *sample.arguments, *map(str, sample.settings)])
                print(f"{name}: {outcome(sample, published, model)}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2:])
