"""The engine of one machine: sampler and learner share a process, and weights stay in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.chat.demonstration import demonstrate
from agentscope_tuner.chat.served import ServedModel
from agentscope_tuner.chat.service import ChatService
from agentscope_tuner.checkpoint.state import load_state, save_state
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.base import Sampling
from agentscope_tuner.engine.models import (
    POLICY,
    ModelFiles,
    auxiliary_models,
    default_device,
    max_length,
    serve,
    start_sampler,
    training_dtype,
)
from agentscope_tuner.engine.needs import lora_settings, refuse_what_does_not_fit
from agentscope_tuner.inference.loading import load_model
from agentscope_tuner.inference.threads import release_threads
from agentscope_tuner.rollout.runner import RolloutRunner
from agentscope_tuner.training.learner import LocalLearner
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Trajectory
from agentscope_tuner.workflow import JudgeType, WorkflowType

LEARNER_STATE = "learner.pt"
ADAPTER_DIRECTORY = "adapter"
"""In a checkpoint of a run with adapters: they alone, as peft saves them."""


class LocalRollouts:
    """The half that samples: a model behind the chat service, and the runner of workflows."""

    def __init__(
        self,
        config: Config,
        files: ModelFiles,
        weights: Mapping[str, torch.Tensor],
        workflow_func: WorkflowType | None,
        judge_func: JudgeType | None,
        device: torch.device,
    ) -> None:
        settings = config.trained_model()
        sampler = start_sampler(settings, files, weights, device, config.deterministic)
        self.policy = serve(POLICY, settings, files, sampler)
        auxiliary = auxiliary_models(config.auxiliary_models(), device, config.deterministic)
        self.service = ChatService(self.policy, auxiliary)
        self._runner = workflow_func and RolloutRunner(
            self.service,
            workflow_func,
            judge_func,
            timeout_s=config.explorer.max_timeout,
            max_retries=config.explorer.max_retry_times,
            max_concurrent=config.explorer.runner_per_model or 1 << 30,
        )

    async def rollout(
        self,
        tasks: Sequence[dict[str, Any]],
        *,
        group_size: int,
        label: str,
        seed: int,
        sampling: Sampling,
        on_done: Callable[[Rollout], None],
    ) -> list[RolloutGroup]:
        """See `Engine.rollout`."""
        assert self._runner is not None, "without a workflow there is nothing to roll out"
        return await self._runner.run_groups(
            tasks,
            group_size,
            label=label,
            seed=seed,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            on_done=on_done,
        )

    async def close(self) -> None:
        """Stop listening, if an agent asked for a URL, and end the samplers."""
        await self.service.close()
        samplers = {id(model.sampler): model.sampler for model in self._served()}
        for sampler in samplers.values():
            await sampler.close()

    def _served(self) -> list[ServedModel]:
        models = [self.policy, *self.service.auxiliary.values()]
        return [model for model in models if isinstance(model, ServedModel)]


class LocalEngine(LocalRollouts):
    """Rollouts, and a learner beside them."""

    def __init__(
        self,
        config: Config,
        algorithm: Algorithm,
        workflow_func: WorkflowType | None,
        judge_func: JudgeType | None,
        total_steps: int,
        checkpoint: Path | None,
    ) -> None:
        """Load the model from its path, or from the `checkpoint` of a run that goes on."""
        device = default_device()
        files = ModelFiles.find(config.trained_model().model_path)
        refuse_what_does_not_fit(config, files, training=True, reference=algorithm.needs_reference)
        self.learner = make_learner(
            config, files, device, total_steps, checkpoint, algorithm.needs_reference
        )
        self._algorithm = algorithm
        self.model_directory = files.directory
        """Where the model's files were found that the run begins from."""
        self._tokenizer = files.tokenizer
        self._has_adapters = config.model.lora.rank > 0
        self._train_batch_size = config.buffer.train_batch_size
        # Always the same thread: OpenMP has workers for each thread that computes.
        self._learner_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="learner")
        super().__init__(config, files, self.learner.weights(), workflow_func, judge_func, device)

    def demonstrate(self, sample: Mapping[str, Any]) -> Trajectory:
        """See `Engine.demonstrate`."""
        return demonstrate(self.policy.renderer, sample, self.policy.sampler.max_model_len)

    async def update(self, groups: Sequence[RolloutGroup]) -> dict[str, float]:
        """See `Engine.update`; several optimizer steps if `train_batch_size` asks for them."""
        return await asyncio.get_running_loop().run_in_executor(
            self._learner_thread, self._update, groups
        )

    def _update(self, groups: Sequence[RolloutGroup]) -> dict[str, float]:
        learner, algorithm = self.learner, self._algorithm
        first, *later = split_batch(groups, self._train_batch_size)
        proximal = [learner.logprobs(b) if algorithm.needs_proximal else None for b in later]
        updates = [
            learner.forward_backward(batch, algorithm, before) | learner.optim_step()
            for batch, before in zip((first, *later), (None, *proximal), strict=True)
        ]
        release_threads()  # the sampler computes next
        return over_updates(updates)

    async def close(self) -> None:
        """Also give the learner's memory back."""
        await super().close()
        self._learner_thread.shutdown()
        self.learner.release()

    async def hand_over(self, version: int) -> None:
        """See `Engine.hand_over`."""
        await self.policy.sampler.load_weights(self.learner.weights(), version)

    def save(self, directory: Path) -> None:
        """See `Engine.save`."""
        self.learner.save_model(directory, self._tokenizer)
        if self._has_adapters:
            self.learner.save_adapter(directory / ADAPTER_DIRECTORY)
        state = directory / "tuner_state"
        state.mkdir(exist_ok=True)
        save_state(state / LEARNER_STATE, self.learner.state_dict())


def make_learner(
    config: Config,
    files: ModelFiles,
    device: torch.device,
    total_steps: int,
    checkpoint: Path | None,
    needs_reference: bool,
) -> LocalLearner:
    """The learner of a run, where the checkpoint left it if there is one."""
    settings = config.trained_model()
    lora = config.model.lora
    # With adapters a checkpoint's model is the merged one, so these start from the original.
    source = files.directory if checkpoint is None or lora.rank else checkpoint
    torch.manual_seed(config.seed)  # the adapters' initial weights
    optimizer = config.algorithm.optimizer
    pack = config.trainer.max_token_len_per_gpu or 2 * max_length(settings, files.config)
    learner = LocalLearner(
        load_model(source, torch.float32),
        device=device,
        compute_dtype=training_dtype(config, device),
        optimizer=OptimizerSettings(
            lr=optimizer.lr,
            betas=optimizer.betas,
            weight_decay=optimizer.weight_decay,
            schedule=optimizer.lr_scheduler_type,
            min_lr_ratio=optimizer.min_lr_ratio,
            warmup_steps=optimizer.warmup_steps(total_steps),
            total_steps=total_steps,
            grad_clip=config.trainer.grad_clip,
        ),
        max_tokens_per_pack=pack if config.trainer.use_dynamic_bsz else 1,
        lora=lora_settings(lora) if lora.rank else None,
        # With adapters the model without them is the reference.
        reference=load_model(files.directory, torch.float32)
        if needs_reference and not lora.rank
        else None,
    )
    if checkpoint is not None:
        learner.load_state_dict(load_state(checkpoint / "tuner_state" / LEARNER_STATE))
    return learner


def split_batch(
    groups: Sequence[RolloutGroup], samples: int | None
) -> Iterator[Sequence[RolloutGroup]]:
    """Cut a batch at group borders so that each part has at least `samples` model calls."""
    if samples is None:
        yield groups
        return
    part: list[RolloutGroup] = []
    calls = 0
    for group in groups:
        part.append(group)
        calls += sum(len(rollout.trajectory.calls) for rollout in group.rollouts)
        if calls >= samples:
            yield part
            part, calls = [], 0
    if part:
        yield part


def over_updates(updates: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """One step's metrics from its updates': counts are added up, the rest are means or maxima."""
    merged: dict[str, float] = {}
    for key in dict.fromkeys(key for update in updates for key in update):
        values = [update[key] for update in updates if key in update]
        if key.startswith("train/"):
            merged[key] = sum(values)
        elif key.endswith("_max"):
            merged[key] = max(values)
        else:
            merged[key] = sum(values) / len(values)
    return merged
