"""`astuner export-config`: the resolved configuration, without a run."""

from __future__ import annotations

from pathlib import Path

import yaml
from command_line import Astuner

from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.config.yaml_file import config_text


def test_a_scripts_configuration_is_printed_and_nothing_runs(
    astuner: Astuner, program: Path
) -> None:
    ended = astuner("export-config", program, "--set", "seed=7")
    assert ended.code == 0, ended.err
    Path("config.yaml").write_text(ended.out)
    assert config_text(resolve(config_path="config.yaml")) == ended.out
    assert "seed: 7" in ended.out
    assert "workflow_func: main.py:agent" in ended.out
    assert not Path("checkpoints").exists()


def test_in_trinitys_form_it_is_the_same_run(astuner: Astuner, program: Path) -> None:
    logged = ("--set", "monitor.monitor_type=tensorboard")
    ended = astuner("export-config", program, "--trinity", *logged)
    assert ended.code == 0, ended.err
    assert '#   workflow.workflow_func: "main.py:agent" (AgentScope' in ended.out
    Path("trinity.yaml").write_text(ended.out)
    again = astuner("export-config", "trinity.yaml", "--trinity").out

    assert yaml.safe_load(again) == yaml.safe_load(ended.out)


def test_what_trinity_does_not_know_is_bad_input(astuner: Astuner, program: Path) -> None:
    ended = astuner(
        "export-config", program, "--trinity", "--set", "algorithm.algorithm_type=vespo"
    )
    assert ended.code == 2
    assert "vespo is not known to Trinity-RFT" in " ".join(ended.err.split())
    assert ended.out == ""
