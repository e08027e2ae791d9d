"""A learner in this process: packs rollouts, computes gradients, updates weights, saves them.

Its verbs are those of the Tinker interface (`forward_backward`, `optim_step`), so that a learner
elsewhere is one more class with the same ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from agentscope_tuner.algorithms.base import Algorithm, TokenBatch
from agentscope_tuner.algorithms.kl import low_var_kl
from agentscope_tuner.errors import InputError, RunError
from agentscope_tuner.training.forward import pack_logprobs, prepare
from agentscope_tuner.training.lora import LoraSettings, add_adapters, merged_weights
from agentscope_tuner.training.master_weights import MasterWeights
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.packing import Pack, pack_groups, trained_tokens
from agentscope_tuner.trajectory import RolloutGroup


class LocalLearner:
    """One model and its optimizer on one device."""

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        optimizer: OptimizerSettings,
        device: torch.device | str = "cpu",
        compute_dtype: torch.dtype = torch.bfloat16,
        max_tokens_per_pack: int = 8192,
        lora: LoraSettings | None = None,
        reference: PreTrainedModel | None = None,
    ) -> None:
        """Take over `model` (float32 weights): it is moved, converted and trained in place.

        `compute_dtype` bfloat16 keeps float32 master weights beside it. `reference` is a second
        model for algorithms with a KL term; with `lora` the model without its adapters serves.
        Raises InputError if the architecture is not known.
        """
        prepare(model)
        self.model = model.to(device)
        self.settings = optimizer
        self.max_tokens_per_pack = max_tokens_per_pack
        self.step = 0
        """Calls of `optim_step` so far."""
        self._adapters = None if lora is None else add_adapters(model, lora)
        self._masters = MasterWeights(model, compute_dtype)
        self._optimizer = torch.optim.AdamW(
            list(self._masters.by_name.values()),
            lr=optimizer.lr,
            betas=optimizer.betas,
            eps=optimizer.eps,
            weight_decay=optimizer.weight_decay,
            fused=True,
        )
        self._reference = reference
        if reference is not None:
            prepare(reference)
            MasterWeights(reference.to(device).requires_grad_(False), compute_dtype)

    def forward_backward(
        self, groups: Sequence[RolloutGroup], algorithm: Algorithm
    ) -> dict[str, float]:
        """Add the gradient of one batch, whose advantages are set.

        The loss is the mean over all tokens that have an advantage, however they are packed. Tokens
        whose advantage is 0 count in that mean and in `train/tokens`, but are not computed unless the
        algorithm has a term that needs them.
        """
        tokens = sum(
            trained_tokens(rollout)
            for group in groups
            for rollout in group.rollouts
            if rollout.advantage is not None
        )
        packs = pack_groups(
            groups,
            self.max_tokens_per_pack,
            skip_zero_advantage=not algorithm.learns_without_advantage,
        )
        computed = sum(len(pack.targets_N) for pack in packs)
        metrics = {
            "train/tokens": float(tokens),
            "train/skipped_tokens": float(tokens - computed),
            "train/packed_tokens": float(sum(len(pack.token_ids_T) for pack in packs)),
            "train/packs": float(len(packs)),
        }
        sums: dict[str, float] = defaultdict(float)
        maxima: dict[str, float] = defaultdict(float)
        for pack in packs:
            batch = self._token_batch(pack, algorithm)
            loss_N, extra = algorithm.loss(batch)
            (loss_N.sum() / tokens).backward()
            sums["policy/loss"] += loss_N.sum().item() / tokens
            for name, value_N in {**_token_metrics(batch, algorithm), **extra}.items():
                sums[f"policy/{name}"] += value_N.sum().item() / computed
            if not algorithm.supervised:
                ratio_N = torch.exp(batch.logprobs_N.detach() - batch.old_logprobs_N)
                maxima["policy/ratio_max"] = max(maxima["policy/ratio_max"], ratio_N.max().item())
        return {**metrics, **sums, **maxima}

    def optim_step(self) -> dict[str, float]:
        """Update the weights with the accumulated gradient and forget it.

        Without a gradient (no rollout had an advantage) the weights stay as they are; the schedule
        goes on. Raises RunError if the gradient is not finite.
        """
        lr = self.settings.lr_at(self.step)
        self.step += 1
        weights = [w for w in self._masters.by_name.values() if w.grad is not None]
        norm = torch.nn.utils.get_total_norm([w.grad for w in weights]) if weights else 0.0
        grad_norm = float(norm)
        if not torch.isfinite(torch.tensor(grad_norm)):
            raise RunError(
                f"the gradient of update {self.step} is not finite; lower the learning rate, or "
                "compute in float32"
            )
        if weights:
            if self.settings.grad_clip is not None and grad_norm > self.settings.grad_clip:
                torch._foreach_mul_([w.grad for w in weights], self.settings.grad_clip / grad_norm)
            for group in self._optimizer.param_groups:
                group["lr"] = lr
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            self._masters.publish()
        return {"policy/grad_norm": grad_norm, "policy/lr": lr}

    @torch.no_grad()
    def logprobs(self, groups: Sequence[RolloutGroup]) -> dict[tuple[int, int, int], float]:
        """ln p of every trained token of the rollouts that have an advantage.

        Keys are (number of the rollout through all groups, segment, index in the segment).
        """
        result = {}
        for pack in pack_groups(groups, self.max_tokens_per_pack):
            logprobs_N, _ = pack_logprobs(self.model, pack)
            origins = (tuple(origin) for origin in pack.origins_N3.tolist())
            result.update(zip(origins, logprobs_N.tolist(), strict=True))
        return result

    def weights(self) -> dict[str, Tensor]:
        """The model's weights under their Hugging Face names, in the compute dtype.

        Not copies, except where an adapter is merged: they change with the next `optim_step`.
        """
        if self._adapters is not None:
            return merged_weights(self.model)
        return {name: weight.detach() for name, weight in self.model.named_parameters()}

    def save_model(self, directory: Path, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        """Write a complete Hugging Face model directory.

        Full tuning writes the float32 weights, from which training resumes exactly; with adapters,
        the merged weights as they are sampled from.
        """
        weights = self._masters.by_name if self._adapters is None else self.weights()
        tensors = {name: weight.detach() for name, weight in weights.items()}
        config = deepcopy(self.model.config)
        config.architectures = [type(self.model).__name__]
        config.dtype = next(iter(tensors.values())).dtype
        directory.mkdir(parents=True, exist_ok=True)
        config.save_pretrained(directory)
        if self.model.generation_config is not None:
            self.model.generation_config.save_pretrained(directory)
        save_torch_state_dict(tensors, directory)
        if tokenizer is not None:
            tokenizer.save_pretrained(directory)

    def save_adapter(self, directory: Path) -> None:
        """Write the adapters alone, as peft does. Raises InputError without `lora`."""
        if self._adapters is None:
            raise InputError("there is no adapter to save: the model is tuned in full")
        self._adapters.save_pretrained(str(directory))

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs beyond the model that this learner is made with.

        Full tuning: the optimizer and the count of updates (the model comes from `save_model`);
        with adapters: these too.
        """
        adapters = self._masters.by_name if self._adapters is not None else {}
        return {
            "step": self.step,
            "optimizer": self._optimizer.state_dict(),
            "adapters": {name: weight.detach() for name, weight in adapters.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.step = state["step"]
        self._optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            for name, weight in state["adapters"].items():
                self._masters.by_name[name].copy_(weight)
        self._masters.publish()

    def _token_batch(self, pack: Pack, algorithm: Algorithm) -> TokenBatch:
        device = self.model.device
        logprobs_N, entropy_N = pack_logprobs(self.model, pack)
        return TokenBatch(
            logprobs_N=logprobs_N,
            old_logprobs_N=torch.from_numpy(pack.old_logprobs_N).to(device),
            advantages_N=torch.from_numpy(pack.advantages_N).to(device),
            entropy_N=entropy_N,
            ref_logprobs_N=self._reference_logprobs(pack) if algorithm.needs_reference else None,
        )

    @torch.no_grad()
    def _reference_logprobs(self, pack: Pack) -> Tensor:
        if self._adapters is None and self._reference is None:
            raise InputError("a KL term needs a reference model; give the learner one")
        without = nullcontext() if self._adapters is None else self._adapters.disable_adapter()
        with without:
            return pack_logprobs(self._reference or self.model, pack)[0]


def _token_metrics(batch: TokenBatch, algorithm: Algorithm) -> dict[str, Tensor]:
    """What every pack reports, per token."""
    assert batch.entropy_N is not None
    metrics = {"entropy": batch.entropy_N.detach()}
    if not algorithm.supervised:
        logprobs_N = batch.logprobs_N.detach()
        metrics["ratio_mean"] = torch.exp(logprobs_N - batch.old_logprobs_N)
        # Tokens were drawn by the sampler, so this estimates KL(sampler || learner).
        metrics["kl_sampler_learner"] = low_var_kl(batch.old_logprobs_N, logprobs_N)
    return metrics
