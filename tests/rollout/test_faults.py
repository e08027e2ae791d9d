"""The corpus of faults through the real endpoint: every rollout comes back, as what it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import JUDGE_FAULTS, WORKFLOW_FAULTS, assert_all_accounted_for, faulty_tasks
from faults import judge as faulty_judge
from faults import workflow as faulty_workflow
from test_through_the_endpoint import ScriptedSampler, byte_tokenizer

from agentscope_tuner.chat.served import serve_model
from agentscope_tuner.chat.service import ChatService
from agentscope_tuner.event_loop import run_to_completion
from agentscope_tuner.inference.base import Completion, SamplingParams
from agentscope_tuner.monitor.base import RunInfo
from agentscope_tuner.monitor.registry import create_monitors
from agentscope_tuner.rollout.metrics import summarize
from agentscope_tuner.rollout.runner import RolloutRunner
from agentscope_tuner.runs.rollouts import read_rollouts, write_rollouts
from agentscope_tuner.trajectory import RolloutGroup

GROUP = 2
TIMEOUT_S = 4.0


class Echo(ScriptedSampler):
    """Repeats the last message of its prompt."""

    async def sample(
        self, prompt_ids: list[int], params: SamplingParams, on_token: Any = None
    ) -> Completion:
        prompt = self.tokenizer.decode(prompt_ids)
        word = prompt.rpartition("<|im_end|>")[0].rpartition("\n")[2]
        ids = [*self.tokenizer.encode(word), self.tokenizer.eos_token_id]
        return Completion(ids, [-0.5] * len(ids), [False] * len(ids), {}, "stop", self.version)


@pytest.fixture
def back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """To the working directory, which one of the faults leaves."""
    monkeypatch.chdir(tmp_path)
    before = os.getcwd()
    yield
    os.chdir(before)


def run_all(sampler: Echo, tasks: list[dict[str, Any]]) -> list[RolloutGroup]:
    async def work() -> list[RolloutGroup]:
        service = ChatService(serve_model("policy", sampler, sampler.tokenizer, max_tokens=32))
        runner = RolloutRunner(service, faulty_workflow, faulty_judge, timeout_s=TIMEOUT_S)
        try:
            groups = await runner.run_groups(tasks, GROUP, label="step1", seed=0)
            # What the faults have left behind harms no later rollout.
            (later,) = await runner.run_groups([tasks[-1]], 4, label="step2", seed=0)
            assert later.rewards == [1.0] * 4, later.rollouts
            return groups
        finally:
            await service.close()

    return run_to_completion(work())


@pytest.mark.usefixtures("back")
def test_of_every_kind_of_fault_each_rollout_comes_back_as_what_it_is(tmp_path):
    assert len(WORKFLOW_FAULTS) + len(JUDGE_FAULTS) >= 60
    sampler = Echo(byte_tokenizer())
    tasks = faulty_tasks(good=8)
    groups = run_all(sampler, tasks)

    def sampled(token_ids: list[int]) -> str:
        return sampler.tokenizer.decode(token_ids, skip_special_tokens=True)

    assert_all_accounted_for(groups, tasks, GROUP, sampled)
    texts = [
        text
        for group in groups
        for rollout in group.rollouts
        if rollout.error
        for text in (rollout.error.message, rollout.error.traceback)
    ]
    assert all(type(text) is str and len(text) < 21_000 for text in texts)

    write_rollouts(tmp_path / "r", groups)
    assert read_rollouts(tmp_path / "r") == [r for group in groups for r in group.rollouts]
    metrics = summarize(groups)
    for monitor in create_monitors(["tensorboard"]):
        monitor.start(RunInfo("p", "n", tmp_path))
        monitor.log(metrics, 1)
        monitor.samples([group.rollouts[0] for group in groups], 1)
        monitor.close()
