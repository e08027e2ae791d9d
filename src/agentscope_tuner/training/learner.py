"""A learner in this process: packs rollouts, computes gradients, updates weights, saves them.

Its verbs are those of the Tinker interface (`forward_backward`, `optim_step`), so that a learner
elsewhere is one more class with the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from agentscope_tuner.algorithms.base import Algorithm, TokenBatch
from agentscope_tuner.errors import InputError, RunError
from agentscope_tuner.inference.memory import free_memory
from agentscope_tuner.training import forward
from agentscope_tuner.training.lora import LoraSettings, add_adapters, merged_weights
from agentscope_tuner.training.master_weights import MasterWeights
from agentscope_tuner.training.memory import (
    activation_bytes_per_token,
    give_back_freed_memory,
    keep_freed_memory,
)
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.packing import pack_groups, trained_tokens
from agentscope_tuner.training.saving import save_model_directory
from agentscope_tuner.training.token_metrics import TokenMetrics
from agentscope_tuner.trajectory import RolloutGroup

TokenKey = tuple[int, int, int]
"""Number of the rollout through all groups, segment, index in the segment."""


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
        self.device = torch.device(device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.model = forward.prepare(model, self.device)
        self.settings = optimizer
        self.max_tokens_per_pack = max_tokens_per_pack
        self.step = 0
        """Calls of `optim_step` so far."""
        self._adapters = None if lora is None else add_adapters(model, lora)
        model.activation_checkpointing_enable()  # takes effect in training mode only
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
            forward.prepare(reference, self.device).requires_grad_(False)
            MasterWeights(reference, compute_dtype)
        per_token = activation_bytes_per_token(self.model)
        self._most_kept_tokens = free_memory(self.device) / 2 / per_token
        """Tokens of a pack up to which activations are kept and not computed again."""

    def forward_backward(
        self,
        groups: Sequence[RolloutGroup],
        algorithm: Algorithm,
        proximal: Mapping[TokenKey, float] | None = None,
    ) -> dict[str, float]:
        """Add the gradient of one batch, whose advantages are set.

        Where rollouts of one step are learnt from in several updates, `proximal` is what `logprobs`
        gave for these groups before the first of them; None: this is the first.

        The loss is the mean over all trained tokens of rollouts that have an advantage, however
        they are packed. Those whose advantage is 0 count in that mean and in `train/tokens`, but
        are not computed unless the algorithm has a term that gives them a gradient.
        """
        skip = not algorithm.learns_without_advantage
        packs = pack_groups(groups, self.max_tokens_per_pack, skip_zero_advantage=skip)
        computed = sum(len(pack.targets_N) for pack in packs)
        skipped = 0
        if skip:
            rollouts = (rollout for group in groups for rollout in group.rollouts)
            skipped = sum(trained_tokens(rollout) for rollout in rollouts if rollout.advantage == 0)
        metrics = TokenMetrics()
        for pack in packs:
            self._backward(pack, algorithm, computed + skipped, proximal, metrics)
        return {
            "train/tokens": float(computed + skipped),
            "train/skipped_tokens": float(skipped),
            "train/packed_tokens": float(sum(len(pack.token_ids_T) for pack in packs)),
            "train/packs": float(len(packs)),
            **metrics.result(computed + skipped, computed),
        }

    def optim_step(self) -> dict[str, float]:
        """Update the weights with the accumulated gradient and forget it.

        Without a gradient (no rollout had an advantage) the weights stay as they are; the schedule
        goes on. Raises RunError if the gradient is not finite.
        """
        lr = self.settings.lr_at(self.step)
        self.step += 1
        grads = [w.grad for w in self._masters.by_name.values() if w.grad is not None]
        grad_norm = float(torch.nn.utils.get_total_norm(grads)) if grads else 0.0
        if not math.isfinite(grad_norm):
            raise RunError(
                f"the gradient of update {self.step} is not finite; lower the learning rate, or "
                "compute in float32"
            )
        if grads:
            if self.settings.grad_clip is not None and grad_norm > self.settings.grad_clip:
                torch._foreach_mul_(grads, self.settings.grad_clip / grad_norm)
            for group in self._optimizer.param_groups:
                group["lr"] = lr
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            self._masters.publish()
        return {"policy/grad_norm": grad_norm, "policy/lr": lr}

    def logprobs(self, groups: Sequence[RolloutGroup]) -> dict[TokenKey, float]:
        """ln p of every trained token of the rollouts that have an advantage."""
        found: dict[TokenKey, float] = {}
        for pack in pack_groups(groups, self.max_tokens_per_pack):
            values = forward.pack_logprobs(self.model, pack).tolist()
            found.update(zip(pack.origins, values, strict=True))
        return found

    def weights(self) -> dict[str, Tensor]:
        """The model's weights under their Hugging Face names, in the compute dtype.

        Not copies, except where an adapter is merged: they change with the next `optim_step`. A
        head that is tied to the embedding appears once, under the embedding's name.
        """
        if self._adapters is not None:
            return merged_weights(self.model)
        return {name: weight.detach() for name, weight in self.model.named_parameters()}

    def save_model(self, directory: Path, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        """Write a complete Hugging Face model directory.

        Full tuning writes the float32 weights, from which training resumes exactly; with adapters,
        the merged weights as they are sampled from.
        """
        full = {name: weight.detach() for name, weight in self._masters.by_name.items()}
        weights = full if self._adapters is None else self.weights()
        save_model_directory(directory, self.model, weights, tokenizer)

    def save_adapter(self, directory: Path) -> None:
        """Write the adapters alone, as peft does. Raises InputError without `lora`."""
        if self._adapters is None:
            raise InputError("there is no adapter to save: the model is tuned in full")
        self._adapters.save_pretrained(str(directory))

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs beyond the model that the learner is made with; not copied.

        With full tuning that model comes from `save_model`; with adapters it is the original one,
        and the adapters are in here.
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

    def release(self) -> None:
        """Give the memory back; the learner cannot be used any more."""
        self._optimizer.state.clear()
        self._masters.by_name.clear()
        for model in filter(None, (self.model, self._reference)):
            for parameter in model.parameters():
                parameter.data = parameter.data.new_empty(0)
        give_back_freed_memory()

    def _backward(
        self,
        pack: Pack,
        algorithm: Algorithm,
        tokens: int,
        proximal: Mapping[TokenKey, float] | None,
        metrics: TokenMetrics,
    ) -> None:
        """Add a pack's share of the gradient of a loss that is the mean over `tokens` tokens."""
        reference_N = self._reference_logprobs(pack) if algorithm.needs_reference else None
        proximal_N = None
        if proximal is not None:
            proximal_N = torch.tensor([proximal[key] for key in pack.origins], device=self.device)
        old_logprobs_N = torch.from_numpy(pack.old_logprobs_N).to(self.device)
        advantages_N = torch.from_numpy(pack.advantages_N).to(self.device)
        # In training mode activations are computed twice instead of kept.
        self.model.train(len(pack.token_ids_T) > self._most_kept_tokens)
        hidden_NE = forward.predecessor_states(self.model, pack)
        head = forward.head_of(self.model, pack)
        hidden_grad_NE = torch.empty_like(hidden_NE)
        for rows in head.chunks():
            # Going backward chunk by chunk keeps only one chunk of probabilities alive.
            hidden_nE = hidden_NE[rows].detach().requires_grad_()
            logprobs_n, entropy_n = head.logprobs(hidden_nE, rows)
            batch = TokenBatch(
                logprobs_N=logprobs_n,
                old_logprobs_N=old_logprobs_N[rows],
                advantages_N=advantages_N[rows],
                proximal_logprobs_N=None if proximal_N is None else proximal_N[rows],
                entropy_N=entropy_n,
                ref_logprobs_N=None if reference_N is None else reference_N[rows],
            )
            loss_n, extra = algorithm.loss(batch)
            (loss_n.sum() / tokens).backward()
            assert hidden_nE.grad is not None
            hidden_grad_NE[rows] = hidden_nE.grad
            metrics.add(loss_n, extra, batch)
            if not algorithm.supervised:
                metrics.add_mismatch(batch)
        hidden_NE.backward(hidden_grad_NE)

    def _reference_logprobs(self, pack: Pack) -> Tensor:
        if self._adapters is None and self._reference is None:
            raise InputError("a KL term needs a reference model; give the learner one")
        without = nullcontext() if self._adapters is None else self._adapters.disable_adapter()
        with without:
            return forward.pack_logprobs(self._reference or self.model, pack)
