"""What can be refused before anything heavy is imported, let alone loaded."""

from __future__ import annotations

import os

from agentscope_tuner.config.schema import ChatModelSettings, Config
from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.finding import find_model


def refuse_missing_models(config: Config) -> None:
    """Raise InputError if a model is not there, or a server's API key."""
    for name, model in config.auxiliary_models().items():
        if model.base_url is None:
            find_model(model.model_path)
        else:
            api_key(name, model)
    find_model(config.trained_model().model_path)
    if config.model.teacher_model_path is not None:
        find_model(config.model.teacher_model_path)


def api_key(name: str, model: ChatModelSettings) -> str:
    """The key for an auxiliary model's server. Raises InputError if it is not set."""
    key = os.environ.get(model.api_key_env, "") if model.api_key_env else "none"
    if not key:
        raise InputError(
            f"The auxiliary model {name!r} wants its API key in the environment variable "
            f"{model.api_key_env}, which is not set."
        )
    return key
