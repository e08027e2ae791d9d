"""What a Tinker service does not serve is refused by name, before anything is written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from agentscope_tuner.build.algorithm import build_algorithm
from agentscope_tuner.build.models import build_learning
from agentscope_tuner.build.tinker import open_service, refuse_checkpoint_from_elsewhere
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.config.schema import Config, notices
from agentscope_tuner.engine.models import ModelFiles
from agentscope_tuner.errors import InputError

BASE: dict[str, Any] = {
    "model.model_path": "m",
    "buffer.explorer_input.taskset.path": "d",
    "model.tinker.enable": True,
}


def configured(**settings: Any) -> Config:
    return resolve(overrides=BASE | settings)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"model.lora.rank": 8}, r"adapters of its own \(model\.lora\.rank\)"),
        ({"trainer.ranks": 2}, r"ranks \(trainer\.ranks\)"),
        ({"cluster.ray_address": "auto"}, "a Ray cluster"),
        ({"deterministic": True}, "deterministic"),
        ({"algorithm.algorithm_type": "ppo"}, "a critic"),
        (
            {"algorithm.algorithm_type": "on_policy_distill", "model.teacher_model_path": "t"},
            "a teacher",
        ),
        ({"algorithm.entropy_loss_fn_args.entropy_coef": 0.1}, r"entropies \(entropy_coef\)"),
        ({"algorithm.advantage_fn": "clipv"}, "the column entropy, the column expected_push"),
    ],
)
def test_it_names_what_a_learner_there_does_not_have(settings: dict[str, Any], named: str) -> None:
    config = configured(**settings)
    with pytest.raises(InputError, match=rf"A learner at a Tinker service does not have {named}:"):
        build_algorithm(config)
    config.model.tinker.enable = False
    build_algorithm(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.temperature", 0.7),
        ("model.top_p", 0.9),
        ("model.top_k", 20),
        ("buffer.explorer_input.taskset.rollout_args.temperature", 0.5),
    ],
)
def test_rollouts_are_sampled_from_what_the_service_knows_probabilities_of(
    key: str, value: float
) -> None:
    with pytest.raises(InputError, match=rf"does not serve {key} {value:g}: it gives log-prob"):
        build_algorithm(configured(**{key: value}))


def test_an_evaluation_may_take_the_likeliest_tokens() -> None:
    held_out = {"name": "test", "path": "d", "rollout_args": {"temperature": 0.0}}
    settings = {"buffer.explorer_input.eval_tasksets": [held_out]}
    build_algorithm(configured(**settings))
    held_out["rollout_args"] = {"temperature": 0.7}
    with pytest.raises(InputError, match=r"eval_tasksets\.0\.rollout_args\.temperature 0\.7"):
        build_algorithm(configured(**settings))


def test_keys_of_the_other_place_are_named_in_the_notice() -> None:
    [line] = notices(configured(**{"trainer.dtype": "float32", "model.lora.alpha": 8}))
    assert "model.lora.alpha, trainer.dtype (the learner is at a Tinker service)" in line
    [line] = notices(configured(**{"model.tinker.enable": False, "model.tinker.rank": 8}))
    assert "model.tinker.rank (model.tinker.enable is not set)" in line


def test_some_layer_must_have_adapters() -> None:
    none = {f"model.tinker.train_{layers}": False for layers in ("mlp", "attn", "unembed")}
    with pytest.raises(InputError, match="leave no layer to train"):
        configured(**none)


def test_a_service_that_is_not_there_is_named() -> None:
    pytest.importorskip("tinker")
    with pytest.raises(InputError, match=r"no Tinker service at http://127\.0\.0\.1:9 "):
        open_service(configured(**{"model.tinker.base_url": "http://127.0.0.1:9"}), "m")
    with pytest.raises(InputError, match=r"base_url is 'localhost:8000'; it must begin with http"):
        open_service(configured(**{"model.tinker.base_url": "localhost:8000"}), "m")


def test_the_sdk_need_not_be_installed(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "tinker", raising=False)
    config = configured(**{"model.model_path": str(tiny_model)})
    files = ModelFiles.of_tuned(config)
    with pytest.raises(InputError, match=r"pip install 'agentscope-tuner\[tinker\]'"):
        build_learning(config, files, build_algorithm(config), 1, None)


def test_a_checkpoint_says_where_its_weights_are(tmp_path: Path) -> None:
    refuse_checkpoint_from_elsewhere(tmp_path, at_service=False)
    with pytest.raises(InputError, match=r"learner on this machine: leave model\.tinker\.enable"):
        refuse_checkpoint_from_elsewhere(tmp_path, at_service=True)
    (tmp_path / "tuner_state").mkdir()
    (tmp_path / "tuner_state" / "tinker.json").touch()
    refuse_checkpoint_from_elsewhere(tmp_path, at_service=True)
    with pytest.raises(InputError, match=r"at a Tinker service: set model\.tinker\.enable"):
        refuse_checkpoint_from_elsewhere(tmp_path, at_service=False)
