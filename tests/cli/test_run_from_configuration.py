"""The `config.yaml` of a run knows where its functions are: it runs by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from command_line import Astuner

from agentscope_tuner import InputError, tune
from agentscope_tuner.functions import load_function, reference_to
from agentscope_tuner.monitor.jsonl import read_metrics

PROJECT = Path("checkpoints/P")


def rewards(run: Path) -> list[tuple[float, float]]:
    return [
        (record["step"], value)
        for record in read_metrics(run / "metrics.jsonl")
        for key, value in record.items()
        if key.endswith("reward/mean")
    ]


@pytest.fixture
def config_yaml(tuned: Path) -> Path:
    """What a finished run has left."""
    return tuned / "config.yaml"


def test_it_names_the_functions_by_their_file(config_yaml: Path) -> None:
    written = yaml.safe_load(config_yaml.read_text())
    assert written["workflow"] == {"workflow_func": "main.py:agent", "judge_func": "main.py:judge"}


def test_running_it_repeats_the_run_under_a_new_name(astuner: Astuner, config_yaml: Path) -> None:
    (PROJECT / "first-2").mkdir()
    ended = astuner("run", config_yaml)
    assert ended.code == 0, ended.err
    assert str(PROJECT / "first-3") in ended.out
    assert rewards(PROJECT / "first-3") == rewards(PROJECT / "first")


def test_a_name_of_ones_own_is_kept(astuner: Astuner, config_yaml: Path) -> None:
    assert astuner("run", config_yaml, "--set", "name=other").code == 0
    assert rewards(PROJECT / "other") == rewards(PROJECT / "first")


def test_more_steps_go_on_with_the_run(astuner: Astuner, config_yaml: Path) -> None:
    ended = astuner("run", config_yaml, "--set", "buffer.total_steps=3")
    assert ended.code == 0, ended.err
    assert [path.name for path in PROJECT.iterdir()] == ["first"]
    assert rewards(PROJECT / "first")[-1][0] == 3


def test_tune_repeats_it_too(config_yaml: Path) -> None:
    result = tune(config_path=config_yaml)
    assert result.run_directory == PROJECT.absolute() / "first-2"
    assert rewards(PROJECT / "first-2") == rewards(PROJECT / "first")


def test_every_command_takes_it(astuner: Astuner, config_yaml: Path) -> None:
    assert "reward" in astuner("check", config_yaml).out
    assert "pass@1" in astuner("evaluate", config_yaml, "--model", PROJECT / "first").out


def test_set_replaces_a_function_of_the_script(astuner: Astuner, program: Path) -> None:
    Path("other.py").write_text(
        "from agentscope.tuner import JudgeOutput\n"
        "async def constant(task, response):\n    return JudgeOutput(reward=7.0)\n"
    )
    ended = astuner("evaluate", program, "--set", "workflow.judge_func=other.py:constant")
    assert ended.code == 0, ended.err
    assert "7.000 ± 0.000" in ended.out


def test_a_script_that_calls_tune_when_imported_is_refused(
    astuner: Astuner, config_yaml: Path
) -> None:
    script = Path("main.py")
    script.write_text(script.read_text().replace('if __name__ == "__main__":', "if True:"))
    ended = astuner("run", config_yaml)
    assert ended.code == 2
    assert "__main__" in ended.err


def test_a_function_is_found_again(program: Path) -> None:
    agent = load_function("main.py:agent")
    assert agent.__name__ == "agent"
    assert load_function("main.py:agent") is agent
    assert reference_to(agent) == "main.py:agent"
    assert load_function("json:dumps") is __import__("json").dumps
    assert reference_to(load_function("json:dumps")) == "json:dumps"


def test_what_no_file_has_by_name_has_no_reference() -> None:
    async def inner() -> None: ...

    assert reference_to(inner) is None
    assert reference_to(lambda: None) is None


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("agent", "names no function"),
        ("gone.py:agent", "There is no file 'gone.py'"),
        ("main.py:gone", "There is no function 'gone' in main.py"),
        ("no_such_module:f", "'no_such_module' cannot be imported"),
    ],
)
def test_a_bad_reference_says_what_is_wrong(reference: str, sentence: str, program: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        load_function(reference)
