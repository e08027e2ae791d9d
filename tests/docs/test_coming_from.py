"""The tables for those who come from elsewhere: what stands under "here" can be set."""

from __future__ import annotations

import re

import pytest
from pages import ROOT, text_of
from test_claims import is_configured

from agentscope_tuner.config.schema import Config

PAGE = ROOT / "docs" / "coming_from.md"
ROWS = [row.split(" | ") for row in re.findall(r"^\| (`.*) \|$", text_of(PAGE), re.MULTILINE)]


@pytest.mark.parametrize("row", ROWS[1:], ids=lambda row: row[0])
def test_what_is_named_can_be_set(row: list[str]) -> None:
    keys = re.findall(r"`([\w.]+)`", row[1])
    assert keys or row[1] == "nothing to set"
    assert all(is_configured(key) for key in keys)


def test_defaults_that_are_compared_are_ours() -> None:
    config = Config()
    assert config.algorithm.repeat_times == 8
    assert config.algorithm.optimizer.lr == 1e-6
    assert config.algorithm.optimizer.lr_scheduler_type == "constant"
    assert config.trainer.grad_clip == 1.0
    assert config.model.top_k == -1
    assert config.algorithm.kl_loss_fn is None
