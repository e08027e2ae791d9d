"""Bad input is one clear sentence before time is spent; failing rollouts are data after that."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agentscope.message import Msg
from agentscope.model import ChatModelBase

from agentscope_tuner import (
    AlgorithmConfig,
    DatasetConfig,
    InputError,
    JudgeOutput,
    RunError,
    TuneResult,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)

Task = dict[str, Any]


async def ask(task: Task, model: ChatModelBase) -> WorkflowOutput:
    """An agent as plain as they come."""
    answer = await model([{"role": "user", "content": task["question"]}])
    return WorkflowOutput(response=Msg("agent", answer.content, "assistant"))


async def judge(task: Task, response: Msg) -> JudgeOutput:
    return JudgeOutput(reward=float(len(response.get_text_content() or "")))


@pytest.fixture
def arguments(tiny_model: Path, sums: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments of a run of two steps that would succeed."""
    monkeypatch.chdir(sums.parent)
    return {
        "workflow_func": ask,
        "judge_func": judge,
        "model": TunerModelConfig(model_path=str(tiny_model), max_model_len=128, max_tokens=8),
        "train_dataset": DatasetConfig(path=str(sums), total_steps=2),
        "algorithm": AlgorithmConfig(group_size=2, batch_size=2),
        "monitor_type": "none",
    }


def refused(arguments: dict[str, Any], **changed: Any) -> str:
    """The message that `tune` refuses these arguments with; nothing may have been written."""
    with pytest.raises(InputError) as refusal:
        tune(**{**arguments, **changed})
    assert not Path("checkpoints").exists()
    return str(refusal.value)


def test_a_missing_dataset_is_named(arguments: dict[str, Any]) -> None:
    message = refused(arguments, train_dataset=DatasetConfig(path="./nowhere"))
    assert "./nowhere" in message


def test_a_missing_split_lists_those_there_are(arguments: dict[str, Any], sums: Path) -> None:
    message = refused(arguments, train_dataset=DatasetConfig(path=str(sums), split="dev"))
    assert "'dev'" in message
    assert "train, test" in message or "test, train" in message


def test_an_empty_dataset_is_called_empty(arguments: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    message = refused(arguments, train_dataset=DatasetConfig(path=str(tmp_path / "empty.jsonl")))
    assert "empty" in message


def test_a_directory_that_is_no_model_is_refused(arguments: dict[str, Any], sums: Path) -> None:
    model = TunerModelConfig(model_path=str(sums), max_model_len=128)
    assert "config.json" in refused(arguments, model=model)


def test_an_unknown_architecture_lists_the_known_ones(
    arguments: dict[str, Any], tmp_path: Path, tiny_model: Path
) -> None:
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=8, n_layer=1, n_head=1)).save_pretrained(
        tmp_path / "gpt2"
    )
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "gpt2")
    model = TunerModelConfig(model_path=str(tmp_path / "gpt2"), max_model_len=128)
    message = refused(arguments, model=model)
    assert "gpt2" in message
    assert "llama" in message


def test_a_model_that_does_not_fit_into_memory_is_refused(
    arguments: dict[str, Any], tmp_path: Path, tiny_model: Path
) -> None:
    from transformers import LlamaConfig

    huge = tmp_path / "huge"
    shutil.copytree(tiny_model, huge)
    config = LlamaConfig.from_pretrained(huge)
    config.update({"hidden_size": 16384, "intermediate_size": 65536, "num_hidden_layers": 100})
    config.save_pretrained(huge)
    message = refused(arguments, model=TunerModelConfig(model_path=str(huge), max_model_len=128))
    assert "memory" in message
    assert "GB" in message


@pytest.mark.parametrize("name", ["grpo", "multi_step_grpo", "rloo", "gigpo", "sdpo", "raft"])
def test_groups_of_one_are_refused_where_the_rollouts_of_a_group_are_compared(
    arguments: dict[str, Any], name: str
) -> None:
    message = refused(arguments, algorithm=AlgorithmConfig(algorithm_type=name, group_size=1))
    assert message == (
        f"{name} compares the rollouts of a group, so a group_size of 1 teaches nothing: "
        "make it at least 2."
    )


def test_an_unknown_algorithm_lists_the_known_ones(arguments: dict[str, Any]) -> None:
    message = refused(arguments, algorithm=AlgorithmConfig(algorithm_type="grop"))
    assert "multi_step_grpo" in message


def test_a_group_of_one_is_refused_by_a_group_algorithm(arguments: dict[str, Any]) -> None:
    message = refused(arguments, algorithm=AlgorithmConfig(group_size=1))
    assert "group_size" in message


def test_a_model_that_can_only_be_sampled_is_refused(
    arguments: dict[str, Any], tmp_path: Path, tiny_model: Path
) -> None:
    directory = tmp_path / "mistral"
    shutil.copytree(tiny_model, directory)
    config = json.loads((directory / "config.json").read_text())
    config |= {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}
    (directory / "config.json").write_text(json.dumps(config))
    model = TunerModelConfig(model_path=str(directory), max_model_len=128)
    assert "cannot train a model of type 'mistral'" in refused(arguments, model=model)


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name in ("sampler", "learner")}


class Failing:
    """A tracker that cannot be started."""

    def start(self, run: object) -> None:
        raise ConnectionError("no such tracker")


@pytest.mark.parametrize("broken", ["tracker", "auxiliary", "policy"])
def test_what_was_opened_is_closed_if_the_next_cannot_be(
    broken: str, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if broken == "tracker":
        monkeypatch.setattr(
            "agentscope_tuner.commands.training.create_monitors", lambda types: [Failing()]
        )
    else:
        directory = tmp_path / "silent"
        shutil.copytree(arguments["model"].model_path, directory)
        (directory / "chat_template.jinja").unlink()
        silent = TunerModelConfig(model_path=str(directory), max_model_len=128, max_tokens=8)
        key = "model" if broken == "policy" else "auxiliary_models"
        arguments[key] = silent if broken == "policy" else {"judge": silent}
    before = threads()
    error = ConnectionError if broken == "tracker" else InputError
    with pytest.raises(error, match=r"tracker|template"):
        tune(**arguments)
    assert threads() == before
    assert Path("checkpoints").exists() == (broken == "tracker")


def test_functions_that_are_not_async_are_refused(arguments: dict[str, Any]) -> None:
    def workflow(task: Task, model: ChatModelBase) -> WorkflowOutput:
        return WorkflowOutput(reward=0.0)

    def judged(task: Task, response: Any) -> JudgeOutput:
        return JudgeOutput(reward=0.0)

    assert "async" in refused(arguments, workflow_func=workflow)
    assert "async" in refused(arguments, judge_func=judged)


def test_functions_with_other_parameters_are_refused(arguments: dict[str, Any]) -> None:
    async def workflow(task: Task, llm: ChatModelBase) -> WorkflowOutput:
        return WorkflowOutput(reward=0.0)

    assert "model" in refused(arguments, workflow_func=workflow)


def test_a_prompt_that_leaves_no_room_stops_the_run_at_once(arguments: dict[str, Any]) -> None:
    model = arguments["model"].model_copy(update={"max_model_len": 10, "max_tokens": 4})
    with pytest.raises(RunError, match="max_model_len"):
        tune(**{**arguments, "model": model})


async def raises(task: Task, model: ChatModelBase) -> WorkflowOutput:
    await ask(task, model)
    raise LookupError("the shelf is empty")


async def returns_text(task: Task, model: ChatModelBase) -> str:
    await ask(task, model)
    return "4"


async def no_reward(task: Task, model: ChatModelBase) -> WorkflowOutput:
    await ask(task, model)
    return WorkflowOutput()


async def not_a_number(task: Task, model: ChatModelBase) -> WorkflowOutput:
    await ask(task, model)
    return WorkflowOutput(reward=float("nan"))


@pytest.mark.parametrize(
    ("workflow", "said"),
    [
        (raises, "LookupError: the shelf is empty"),
        (returns_text, "WorkflowOutput"),
        (no_reward, "reward"),
        (not_a_number, "nan"),
    ],
)
def test_a_first_step_in_which_everything_fails_stops_with_the_first_failure(
    arguments: dict[str, Any], workflow: Callable[..., Any], said: str
) -> None:
    with pytest.raises(RunError, match="first step") as stopped:
        tune(**{**arguments, "workflow_func": workflow, "judge_func": None})
    assert said in str(stopped.value)


def test_a_run_goes_on_when_some_rollouts_fail_and_counts_them(arguments: dict[str, Any]) -> None:
    calls = iter(range(10_000))

    async def sometimes(task: Task, response: Msg) -> JudgeOutput:
        number = next(calls)
        if number % 4 == 3:
            raise TypeError("argument of type 'NoneType' is not iterable")
        return JudgeOutput(reward=float(number))

    algorithm = AlgorithmConfig(group_size=4, batch_size=2)
    retries = {**arguments, "judge_func": sometimes, "algorithm": algorithm}
    result: TuneResult = tune(**retries)
    assert result.finished
    assert result.metrics["rollout/retries"] > 0


def test_a_cache_that_holds_no_sequence_is_refused_by_its_key(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "cache.yaml"
    path.write_text("explorer: {rollout_model: {kv_cache_memory_bytes: 1000}}")
    message = refused(arguments, config_path=str(path))
    assert "raise kv_cache_memory_bytes or lower max_model_len" in message
