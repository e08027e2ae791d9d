"""`docs/metrics.md` and what runs really write: the same keys, in both directions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from agentscope.model import ChatModelBase
from pages import ROOT, text_of

from agentscope_tuner import (
    AlgorithmConfig,
    DatasetConfig,
    JudgeOutput,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.trajectory import ErrorKind
from agentscope_tuner.tuning import Invocation, invoked_as
from documented_metrics import is_documented, pattern

SETTINGS = (
    "buffer.explorer_input.eval_tasksets.0.repeat_times=2",
    "algorithm.importance_correction=truncated",
    "algorithm.kl_loss_fn=k2",
)


@pytest.fixture(scope="module")
def written(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The keys of a run in which something is there to be measured: two calls, failures."""
    place = tmp_path_factory.mktemp("metrics")
    for split in ("train", "test"):
        lines = [f'{{"question": "{n} + 1 ="}}\n' for n in range(4)]
        (place / f"{split}.jsonl").write_text("".join(lines))
    calls = iter(range(10_000))

    async def ask(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
        for text in (task["question"], "Are you sure?"):
            answer = await model([{"role": "user", "content": text}])
        return WorkflowOutput(response=answer.content[0]["text"], metrics={"asked": 2.0})

    async def judge(task: dict[str, Any], response: str) -> JudgeOutput:
        number = next(calls)
        assert number % 7, "now and then"
        return JudgeOutput(reward=float(number % 2), metrics={"length": float(len(response))})

    with pytest.MonkeyPatch.context() as patch, invoked_as(Invocation(settings=SETTINGS)):
        patch.chdir(place)
        result = tune(
            workflow_func=ask,
            judge_func=judge,
            model=TunerModelConfig(model_path=str(tiny_model), max_model_len=128, max_tokens=6),
            train_dataset=DatasetConfig(path=str(place), total_steps=2),
            eval_dataset=DatasetConfig(path=str(place), split="test"),
            algorithm=AlgorithmConfig(group_size=4, batch_size=2),
            monitor_type="none",
        )
        records = read_metrics(result.run_directory / "metrics.jsonl")
    return {key for record in records for key in record}


def test_what_a_run_writes_is_documented(written: set[str]) -> None:
    assert [key for key in sorted(written) if not is_documented(key)] == []


def test_what_is_documented_is_written(written: set[str]) -> None:
    """But for what the page says is there only in some runs, and kinds of failure."""
    missing = []
    for row in re.findall(r"^\| `.*\|$", text_of(ROOT / "docs" / "metrics.md"), re.MULTILINE):
        names, _, meaning = (cell.strip() for cell in row.strip("|").split(" | "))
        for key in re.findall(r"`([^`]+)`", names):
            if re.search(r"\bonly (with|for|in|of)\b", meaning):
                continue
            if key.startswith("rollout/failed/"):
                assert key.rpartition("/")[2] in get_args(ErrorKind)
            elif not any(pattern(key).fullmatch(other) for other in written):
                missing.append(key)
    assert missing == []


def test_every_kind_of_failure_is_documented() -> None:
    assert all(is_documented(f"rollout/failed/{kind}") for kind in get_args(ErrorKind))
