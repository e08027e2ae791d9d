"""The guide and the example file are what the schema says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import yaml

from agentscope_tuner.config import document, yaml_file
from agentscope_tuner.config.keys import Outcome, keys_of
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.config.schema import Config, notices
from agentscope_tuner.config.trees import contains

DOCS = Path(__file__).parents[2] / "docs"
REMEDY = "run `python -m agentscope_tuner.config.document`"


def test_the_documents_are_current() -> None:
    assert (DOCS / "config.yaml").read_text(encoding="utf-8") == document.example_yaml(), REMEDY
    assert (DOCS / "configuration.md").read_text(encoding="utf-8") == document.guide(), REMEDY
    assert (DOCS / "trinity.md").read_text(encoding="utf-8") == document.trinity_guide(), REMEDY
    written = (DOCS / "config.schema.json").read_text(encoding="utf-8")
    assert written == document.json_schema(), REMEDY


def test_an_editor_finds_a_typing_error_by_the_schema_and_none_in_the_example() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(document.json_schema()))
    tree = yaml.safe_load((DOCS / "config.yaml").read_text(encoding="utf-8"))
    assert list(validator.iter_errors(tree)) == []
    tree["algorithm"]["repeat_tmies"] = 8
    tree["model"]["max_model_len"] = "long"
    places = [list(error.absolute_path) for error in validator.iter_errors(tree)]
    assert sorted(places) == [["algorithm"], ["model", "max_model_len"]]


def test_the_example_has_every_key_that_takes_effect_and_no_other() -> None:
    tree = yaml_file.load(DOCS / "config.yaml")
    for key in keys_of(Config):
        assert contains(tree, key.path) == (key.outcome is Outcome.EFFECT), key.name


def test_the_example_is_a_configuration_without_idle_keys() -> None:
    config = resolve(config_path=DOCS / "config.yaml")
    assert notices(config) == []
    assert config.model.model_path == "Qwen/Qwen3-0.6B"
    assert [taskset.name for taskset in config.buffer.explorer_input.eval_tasksets] == ["test"]


def test_the_guides_name_every_key() -> None:
    guide, trinitys = document.guide(), document.trinity_guide()
    for key in keys_of(Config):
        if key.from_table:
            assert f"| `{key.name.replace('.0', '[]')}` |" in trinitys, key.name
            continue
        below = key.path[1:] if len(key.path) > 1 else key.path
        assert "| `" + ".".join(map(str, below)).replace(".0", "[]") + "` |" in guide, key.name


def test_configuration_is_light_to_import() -> None:
    heavy = "torch transformers datasets agentscope ray"
    program = (
        "import sys, agentscope_tuner.config.resolve\n"
        f"print([name for name in {heavy.split()!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
