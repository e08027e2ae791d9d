"""Trinity-RFT's own YAML: every key has an outcome, and files of its kind load."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentscope_tuner.config.keys import Outcome, keys_of
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.config.schema import Config, notices
from agentscope_tuner.config.trinity_table import keys_of as table_keys_of
from agentscope_tuner.config.trinity_table import other_names
from agentscope_tuner.config.written import ConversationFields, WrittenFields
from agentscope_tuner.errors import InputError

HERE = Path(__file__).parent
KNOWN = {key.name: key for key in keys_of(Config)}
OTHER_NAMES = {row.name: row for row in other_names()}
BASE = {"model.model_path": "m", "buffer.explorer_input.taskset.path": "d"}


def dataclass_keys() -> list[str]:
    sections = yaml.safe_load((HERE / "trinity_keys.yaml").read_text())
    return [f"{at}.{key}".lstrip(".") for at, keys in sections.items() for key in keys.split()]


def is_understood(name: str) -> bool:
    parts = name.replace("task_selector", "data_selector").split(".")
    here_or_above = {".".join(parts[: end + 1]) for end in range(len(parts))}
    sections = {end for key in KNOWN for end in accumulated(key)}
    return bool(here_or_above & (KNOWN.keys() | OTHER_NAMES.keys())) or name in sections


def accumulated(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def test_every_key_of_trinitys_dataclasses_has_an_outcome() -> None:
    assert [name for name in dataclass_keys() if not is_understood(name)] == []


def test_no_key_is_both_declared_here_and_in_the_table() -> None:
    # A key that begins to take effect leaves the table, or docs/trinity.md would deny it.
    for key in KNOWN.values():
        *section, name = map(str, key.path)
        assert key.from_table == (name in {row.key for row in table_keys_of(".".join(section))})
    assert not KNOWN.keys() & OTHER_NAMES.keys()


def test_another_name_stands_for_a_key_that_takes_effect() -> None:
    for row in OTHER_NAMES.values():
        # Arguments of algorithms are the algorithms' own; the tree holds them as they are.
        key = row.section if row.section == "algorithm.advantage_fn_args" else row.why
        assert KNOWN[key].outcome is Outcome.EFFECT, row.name


def written(directory: Path, text: str) -> Path:
    path = directory / "config.yaml"
    path.write_text(text)
    return path


def test_what_trinity_calls_otherwise_reaches_its_key(tmp_path: Path) -> None:
    text = """
    model: {model_path: m, enable_thinking: false, lora_configs: [{name: a, lora_rank: 8}]}
    buffer: {explorer_input: {taskset: {path: d}}}
    explorer: {rollout_model: {temperature: 0.5, top_k: 20}}
    trainer: {max_checkpoints_to_keep: 3, total_steps: 7}
    algorithm: {advantage_fn_args: {step_norm: true}}
    """
    config = resolve(config_path=written(tmp_path, text))
    assert config.trained_model().enable_thinking is False
    assert (config.model.temperature, config.model.top_k) == (0.5, 20)
    assert config.algorithm.advantage_fn_args == {"enable_step_norm": True}
    assert (config.trainer.keep_last, config.buffer.total_steps) == (3, 7)
    # Trinity's default where a key of the adapter is left out.
    assert (config.model.lora.rank, config.model.lora.alpha) == (8, 32)
    assert "model.lora_configs.0.name" in notices(config)[0]


def test_training_on_a_file_takes_the_buffer_for_the_dataset(tmp_path: Path) -> None:
    text = """
    mode: train
    algorithm: {algorithm_type: sft}
    model: {model_path: m}
    buffer:
      train_batch_size: 64
      trainer_input:
        experience_buffer:
          storage_type: file
          path: d
          subset_name: maths
          format: {prompt_type: messages, messages_key: messages}
    """
    config = resolve(config_path=written(tmp_path, text))
    taskset = config.buffer.explorer_input.taskset
    assert (taskset.path, taskset.subset_name, config.buffer.batch_size) == ("d", "maths", 64)
    assert config.buffer.train_batch_size is None
    with pytest.raises(InputError, match="one process samples and trains: both"):
        resolve(config_path=written(tmp_path, text.replace("storage_type: file", "name: queue")))
    pairs = "prompt_type: plaintext, prompt_key: prompt, chosen_key: chosen, rejected_key: rejected"
    dpo = text.replace("algorithm_type: sft", "algorithm_type: dpo")
    dpo = dpo.replace("prompt_type: messages, messages_key: messages", pairs)
    assert resolve(config_path=written(tmp_path, dpo)).buffer.batch_size == 64


@pytest.mark.parametrize(
    ("algorithm", "form", "named"),
    [
        # Trinity's defaults count where a key is left out.
        ("sft", "{}", {"messages": "message"}),
        ("sft", "{messages_key: messages, tools_key: functions}", {"tools": "functions"}),
        (
            "sft",
            "{prompt_type: plaintext, prompt_key: problem}",
            {"prompt": "problem", "messages": ""},
        ),
        ("dpo", "{prompt_type: plaintext, chosen_key: good}", {"chosen": "good"}),
        ("dpo", "{messages_key: talk}", {"messages": "talk", "prompt": ""}),
    ],
)
def test_the_format_of_a_file_names_the_fields_that_are_read(
    algorithm: str, form: str, named: dict[str, str], tmp_path: Path
) -> None:
    text = f"""
    mode: train
    algorithm: {{algorithm_type: {algorithm}}}
    model: {{model_path: m}}
    buffer:
      trainer_input: {{experience_buffer: {{storage_type: file, path: d, format: {form}}}}}
    """
    fields = resolve(config_path=written(tmp_path, text)).buffer.explorer_input.taskset.fields
    assert fields == WrittenFields(**named)


def test_experts_may_have_written_plain_text(tmp_path: Path) -> None:
    text = """
    algorithm: {algorithm_type: mix}
    model: {model_path: m}
    buffer:
      explorer_input: {taskset: {path: d}}
      trainer_input:
        auxiliary_buffers:
          sft_dataset:
            path: e
            format: {prompt_type: plaintext, prompt_key: problem, response_key: solution}
    """
    config = resolve(config_path=written(tmp_path, text), functions=FUNCTIONS)
    named = {"messages": "", "prompt": "problem", "response": "solution"}
    assert config.buffer.experts.fields == ConversationFields(**named)
    # A problem without its picture is another problem.
    pictures = text.replace("prompt_key", "image_key: images, prompt_key")
    with pytest.raises(InputError, match=r"sft_dataset\.format\.image_key is not served"):
        resolve(config_path=written(tmp_path, pictures), functions=FUNCTIONS)


def test_cpt_reads_the_field_that_the_format_names(tmp_path: Path) -> None:
    text = """
    mode: train
    algorithm: {algorithm_type: cpt}
    model: {model_path: m}
    buffer:
      trainer_input:
        experience_buffer:
          storage_type: file
          path: d
          format: {prompt_type: plaintext, prompt_key: body}
    """
    config = resolve(config_path=written(tmp_path, text))
    assert config.buffer.explorer_input.taskset.fields.text == "body"
    config = resolve(config_path=written(tmp_path, text.replace(", prompt_key: body", "")))
    assert config.buffer.explorer_input.taskset.fields.text == "prompt"  # Trinity's default
    format_key = {"buffer.explorer_input.taskset.format.prompt_key": "body"}
    config = resolve(overrides={**BASE, **format_key, "algorithm.algorithm_type": "cpt"})
    assert config.buffer.explorer_input.taskset.fields.text == "body"
    assert "prompt_key" in notices(resolve(overrides={**BASE, **format_key}))[0]


def test_all_checkpoints_are_kept_when_trinity_says_zero() -> None:
    config = resolve(overrides={**BASE, "trainer.max_checkpoints_to_keep": 0})
    assert config.trainer.keep_last is None


def test_two_names_of_one_setting_must_agree() -> None:
    both = {**BASE, "trainer.total_steps": 7, "buffer.total_steps": 7}
    assert resolve(overrides=both).buffer.total_steps == 7
    with pytest.raises(InputError, match="are two names of one setting"):
        resolve(overrides={**both, "buffer.total_steps": 8})


def test_a_bad_value_under_another_name_is_placed_where_it_was_written(tmp_path: Path) -> None:
    path = written(tmp_path, "model: {model_path: m}\ntrainer:\n  total_steps: many\n")
    with pytest.raises(InputError, match=rf"{path}, line 3\) is 'many'"):
        resolve(config_path=path)


def test_everything_that_is_refused_of_a_file_is_in_one_message(tmp_path: Path) -> None:
    text = """
    model: {model_path: m, trust_remote_code: true, temprature: 1}
    buffer: {batch_size: many, explorer_input: {taskset: {path: d}}}
    explorer: {auxiliary_models: [{name: a}], rollout_model: {ignore_eos: true}}
    """
    with pytest.raises(InputError) as raised:
        resolve(config_path=written(tmp_path, text))
    message = str(raised.value)
    assert "\n" not in message
    for part in (
        "unknown key model.temprature",
        "model.trust_remote_code: True is not served",
        "buffer.batch_size",
        "'a' needs a model_path",
        "explorer.rollout_model.ignore_eos: True is not served",
    ):
        assert part in message


def test_an_unknown_key_in_a_section_of_trinitys_is_an_error() -> None:
    with pytest.raises(InputError, match=r"promptkey .*did you mean prompt_key"):
        resolve(overrides={**BASE, "buffer.explorer_input.taskset.format.promptkey": "q"})


STYLE = sorted((HERE / "trinity_style").glob("*.yaml"))
FUNCTIONS = {"workflow.workflow_func": "main.py:run"}


@pytest.mark.parametrize("path", STYLE, ids=[path.stem for path in STYLE])
def test_a_file_in_trinitys_style_loads(path: Path) -> None:
    config = resolve(config_path=path, functions=FUNCTIONS)
    for line in path.read_text().splitlines():
        if match := re.match(r"# expect: (\S+) = (.*)", line):
            assert value_at(config, match[1]) == yaml.safe_load(match[2])


def value_at(config: Config, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        if isinstance(value, dict):
            value = value[part]
        else:
            value = value[int(part)] if part.isdecimal() else getattr(value, part)
    return value


def test_trinitys_own_examples_load(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = os.environ.get("TRINITY_EXAMPLES")
    if directory is None:
        pytest.skip("TRINITY_EXAMPLES names no directory of Trinity-RFT's example files")
    refused: dict[str, str] = {}
    paths = sorted(Path(directory).rglob("*.yaml"))
    for path in paths:
        for variable in re.findall(r"oc\.env:(\w+)", path.read_text()):
            monkeypatch.setenv(variable, "set")
        try:
            resolve(config_path=path, functions=FUNCTIONS)
        except InputError as error:
            refused[path.name] = str(error)
    assert len(paths) - len(refused) >= 50, refused
    unknown = [name for name, message in refused.items() if "unknown key" in message]
    # No configuration of Trinity's, but one of Data-Juicer's beside it.
    assert set(unknown) <= {"dj_scoring_exp.yaml"}, refused
