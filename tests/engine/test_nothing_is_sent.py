"""A run talks to nobody: every address that the process asks for lies on this machine."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from agentscope.model import ChatModelBase
from openai import AsyncOpenAI

from agentscope_tuner import (
    AlgorithmConfig,
    DatasetConfig,
    JudgeOutput,
    Run,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@contextmanager
def contacts() -> Iterator[list[str]]:
    """The hosts that Python's sockets look up or connect to inside the block."""
    found: list[str] = []
    listening = True

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if listening and event == "socket.getaddrinfo":
            found.append(str(arguments[0]))
        elif listening and event in ("socket.connect", "socket.sendto"):
            address = arguments[1]
            found.append(str(address[0]) if isinstance(address, tuple) else "localhost")  # a file

    sys.addaudithook(hear)  # there is no way to take one away again
    try:
        yield found
    finally:
        listening = False


def test_a_lookup_elsewhere_is_heard_of() -> None:
    with contacts() as found, pytest.raises(socket.gaierror):
        socket.getaddrinfo("nobody.invalid", 443, flags=socket.AI_NUMERICHOST)
    assert found == ["nobody.invalid"]


async def ask(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    """Over the loopback interface, so that there is something to hear."""
    async with AsyncOpenAI(base_url=model.base_url, api_key=model.api_key) as client:
        answer = await client.chat.completions.create(
            model=model.model_name, messages=[{"role": "user", "content": task["question"]}]
        )
    return WorkflowOutput(response=answer.choices[0].message.content)


async def judge(task: dict[str, Any], response: str) -> JudgeOutput:
    return JudgeOutput(reward=float(len(response)))


def test_a_run_with_evaluations_and_checkpoints_contacts_this_machine_alone(
    tiny_model: Path, sums: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with contacts() as found:
        result = tune(
            workflow_func=ask,
            judge_func=judge,
            model=TunerModelConfig(model_path=str(tiny_model), max_model_len=128, max_tokens=6),
            train_dataset=DatasetConfig(path=str(sums), total_steps=1),
            eval_dataset=DatasetConfig(path=str(sums), split="test"),
            algorithm=AlgorithmConfig(group_size=2, batch_size=2),
        )
        Run(result.run_directory).diagnose()
    assert found
    assert {host for host in found if host not in LOOPBACK} == set()
