"""The public models behave as AgentScope's do, and their errors are one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import agentscope
import pytest

from agentscope_tuner.config.arguments import (
    AlgorithmConfig,
    Arguments,
    DatasetConfig,
    TinkerConfig,
    TunerModelConfig,
)
from agentscope_tuner.errors import InputError


def upstream_source(module: str) -> str:
    return (Path(agentscope.__file__).parent / "tuner" / f"{module}.py").read_text()


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("_model", [TunerModelConfig, TinkerConfig]),
        ("_algorithm", [AlgorithmConfig]),
        ("_dataset", [DatasetConfig]),
    ],
)
def test_fields_and_defaults_are_agentscopes(module: str, arguments: list[type[Arguments]]) -> None:
    # Its package cannot be imported without further dependencies; its modules stand alone.
    namespace: dict = {"__name__": module}
    exec(compile(upstream_source(module), module, "exec"), namespace)
    for ours in arguments:
        theirs = namespace[ours.__name__]
        for name, field in theirs.model_fields.items():
            assert ours.model_fields[name].is_required() == field.is_required(), name
            if not field.is_required():
                assert ours.model_fields[name].default == field.default, name
        added = set(ours.model_fields) - set(theirs.model_fields)
        assert all(ours.model_fields[name].default is None for name in added)


def test_get_config_is_agentscopes() -> None:
    namespace: dict = {"__name__": "_model"}
    exec(compile(upstream_source("_model"), "_model", "exec"), namespace)
    namespace["TunerModelConfig"].model_rebuild(_types_namespace=namespace)
    given = {"model_path": "m", "max_model_len": 9, "inference_engine_num": 2}
    theirs = namespace["TunerModelConfig"](**given)
    assert TunerModelConfig(**given, max_tokens=3).get_config() == theirs.get_config()
    assert TinkerConfig(rank=3).get_config() == namespace["TinkerConfig"](rank=3).get_config()


def test_parsers_may_be_none() -> None:
    model = TunerModelConfig(
        model_path="m", max_model_len=9, tool_call_parser=None, reasoning_parser=None
    )
    assert model.tool_call_parser is model.reasoning_parser is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: DatasetConfig(path="d", splt="train"),  # type: ignore[call-arg]
            "unknown key splt (DatasetConfig): did you mean split?",
        ),
        (
            lambda: TunerModelConfig(model_path="m"),  # type: ignore[call-arg]
            "max_model_len (TunerModelConfig) is missing",
        ),
        (
            lambda: TunerModelConfig(model_path="m", max_model_len=8, top_p=1.5),
            "top_p (TunerModelConfig) is 1.5, but it should be less than or equal to 1",
        ),
        (
            lambda: TunerModelConfig(model_path="m", max_model_len=8, max_tokens=8),
            "TunerModelConfig: max_tokens (8) must be smaller than max_model_len (8), which holds "
            "the prompt and the answer",
        ),
        (
            lambda: AlgorithmConfig(group_size=0),
            "group_size (AlgorithmConfig) is 0, but it should be greater than 0",
        ),
    ],
)
def test_a_bad_argument_is_one_sentence(make, message: str) -> None:
    with pytest.raises(InputError) as raised:
        make()
    assert str(raised.value) == message


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    samples = [{"question": f"{i} + ü?", "answer": i} for i in range(3)]
    lines = (json.dumps(sample, ensure_ascii=False) for sample in samples)
    (tmp_path / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def test_preview_prints_and_returns_samples(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = DatasetConfig(path=str(dataset))
    samples = config.preview(n=2)
    assert samples == [{"question": "0 + ü?", "answer": 0}, {"question": "1 + ü?", "answer": 1}]
    printed = capsys.readouterr().out
    assert json.loads(printed) == samples
    assert "ü" in printed


def test_preview_takes_more_than_there_are(dataset: Path) -> None:
    assert len(DatasetConfig(path=str(dataset)).preview(n=50)) == 3
    assert len(DatasetConfig(path=str(dataset), split=None).preview()) == 3


def test_preview_takes_a_single_file(dataset: Path) -> None:
    assert len(DatasetConfig(path=str(dataset / "train.jsonl")).preview()) == 3


def test_preview_of_a_split_that_is_not_there_is_one_sentence(dataset: Path) -> None:
    with pytest.raises(InputError, match=r"\(split test\) cannot be read") as raised:
        DatasetConfig(path=str(dataset), split="test").preview()
    assert "\n" not in str(raised.value)


def test_preview_of_a_missing_path_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read") as raised:
        DatasetConfig(path=str(tmp_path / "nowhere")).preview()
    assert isinstance(raised.value, OSError)
