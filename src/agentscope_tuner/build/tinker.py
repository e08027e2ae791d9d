"""A learner and a sampler at a Tinker service, and what of a configuration they do not serve."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.config.buffer import Dataset
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.models import ModelFiles, max_length
from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.finding import AT_SERVICE
from agentscope_tuner.training.optimization import OptimizerSettings

if TYPE_CHECKING:  # these need the SDK, which need not be installed
    from agentscope_tuner.inference.tinker_sampler import TinkerSampler
    from agentscope_tuner.inference.tinker_service import TinkerService
    from agentscope_tuner.training.tinker_learner import TinkerLearner


def build_tinker_learner(
    config: Config, files: ModelFiles, checkpoint: Path | None, optimizer: OptimizerSettings
) -> TinkerLearner:
    """Adapters at the service, where the checkpoint left them if there is one.

    Raises InputError: there is no such service or model, or it does not let us in.
    """
    service = open_service(config, config.trained_model().model_path)
    from agentscope_tuner.inference.tinker_service import SavedAtService
    from agentscope_tuner.training.tinker_learner import TinkerLearner

    settings = config.model.tinker
    saved = SavedAtService.read(checkpoint) if checkpoint is not None else None
    if saved is not None:
        training = service.resume(saved.state)
    else:
        training = service.begin(
            rank=settings.rank,
            seed=config.seed if settings.seed is None else settings.seed,
            mlp=settings.train_mlp,
            attention=settings.train_attn,
            unembed=settings.train_unembed,
        )
    return TinkerLearner(
        service,
        training,
        optimizer=optimizer,
        model=files.directory,
        tokenizer=files.tokenizer,
        updates=0 if saved is None else saved.updates,
    )


async def open_tinker_sampler(
    config: Config,
    files: ModelFiles,
    weights: Mapping[str, Tensor] | None,
    opened: AsyncExitStack,
) -> TinkerSampler:
    """A sampler at the service: of the learner's `weights`, or, without them, of the configured
    model or checkpoint, in a session that `opened` ends.

    Raises InputError: there is no such service or model, or the model has fewer tokens.
    """
    refuse_sampling_that_is_not_served(config)
    _refuse_no_sdk()
    from agentscope_tuner.inference.tinker_sampler import TinkerSampler
    from agentscope_tuner.inference.tinker_service import SavedAtService, TunedAtService

    settings = config.trained_model()
    longest = max_length(settings, files.config)
    vocabulary = files.config.get_text_config().vocab_size
    if weights is not None:
        assert isinstance(weights, TunedAtService), "weights do not travel to the service"
        return TinkerSampler(await weights.sampler(), files.tokenizer, longest, vocabulary)
    saved = SavedAtService.read(files.directory)
    service = open_service(config, saved.model if saved else settings.model_path)
    opened.callback(service.close)
    client = service.tuned(saved.sampler) if saved else service.untuned()
    return TinkerSampler(client, files.tokenizer, longest, vocabulary)


def open_service(config: Config, model: str) -> TinkerService:
    """A session at the configured service. Raises InputError; see `TinkerService`."""
    _refuse_no_sdk()
    from agentscope_tuner.inference.tinker_service import TinkerService

    service = TinkerService(config.model.tinker.base_url, model)
    wanted = config.trained_model().max_model_len
    if wanted and service.max_model_len and wanted > service.max_model_len:
        service.close()
        raise InputError(
            f"max_model_len is {wanted}, but {service.name} takes {service.max_model_len} tokens "
            f"of {model}."
        )
    return service


def refuse_what_tinker_does_not_serve(config: Config, algorithm: Algorithm) -> None:
    """Raise InputError, which names it all, if a service cannot do what is asked."""
    if not config.model.tinker.enable:
        return
    asked = algorithm.before_advantages | algorithm.before_updates(1)
    cluster = config.cluster
    refused = {
        "adapters of its own (model.lora.rank)": config.model.lora.rank > 0,
        "ranks (trainer.ranks)": config.trainer.ranks > 0,
        "a Ray cluster": bool(cluster.ray_address or os.environ.get("RAY_ADDRESS"))
        or cluster.node_num > 1
        or config.explorer.rollout_model.engine_num > 1,
        "deterministic": config.deterministic,
        "a critic": algorithm.needs_critic,
        "a teacher": algorithm.needs_teacher,
        "entropies (entropy_coef)": bool(config.algorithm.entropy_loss_fn_args.entropy_coef),
        **{f"the column {name}": name in asked for name in ("entropy", "expected_push")},
    }
    if names := [name for name, is_asked in refused.items() if is_asked]:
        raise InputError(
            f"A learner at a Tinker service does not have {', '.join(names)}: leave "
            f"model.tinker.enable out, or what {config.algorithm.algorithm_type} wants of this."
        )
    refuse_sampling_that_is_not_served(config)


def refuse_sampling_that_is_not_served(config: Config) -> None:
    """Raise InputError if a rollout would be sampled from what the service knows no probability of:
    it knows those over the whole vocabulary, at temperature 1."""
    inputs = config.buffer.explorer_input
    datasets: dict[str, Dataset] = {"taskset": inputs.taskset}
    datasets |= {f"eval_tasksets.{at}": dataset for at, dataset in enumerate(inputs.eval_tasksets)}
    places = {"model": config.model} | {
        f"buffer.explorer_input.{name}.rollout_args": dataset.rollout_args
        for name, dataset in datasets.items()
    }
    served: dict[str, tuple[float | None, ...]] = {
        "temperature": (None, 0.0, 1.0),
        "top_p": (None, 1.0),
        "top_k": (None, -1, 0),
    }
    names = [
        f"{place}.{name} {value:g}"
        for place, arguments in places.items()
        for name, values in served.items()
        if (value := getattr(arguments, name)) not in values
    ]
    if names:
        raise InputError(
            f"A Tinker service does not serve {', '.join(names)}: it gives log-probabilities over "
            "the whole vocabulary, at temperature 1 (or 0, which is not learnt from)."
        )


def refuse_checkpoint_from_elsewhere(checkpoint: Path | None, at_service: bool) -> None:
    """Raise InputError if a checkpoint's weights are not where the run's learner is."""
    if checkpoint is None or (checkpoint / AT_SERVICE).is_file() == at_service:
        return
    if at_service:
        raise InputError(
            f"{checkpoint} was written by a learner on this machine: leave model.tinker.enable out "
            "to go on."
        )
    raise InputError(
        f"{checkpoint} was written by a learner at a Tinker service: set model.tinker.enable to go "
        "on."
    )


def _refuse_no_sdk() -> None:
    if find_spec("tinker") is None:
        raise InputError(
            "model.tinker.enable needs the Tinker SDK: pip install 'agentscope-tuner[tinker]'."
        )
