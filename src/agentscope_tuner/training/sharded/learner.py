"""A learner spread over several processes: every rank calls every verb, with the same arguments.

The packs of a batch are dealt to the ranks, and their gradients added up (FSDP2 divides by the
number of ranks, so each loss is multiplied by it). As weights of tokens are shares of the whole
batch's loss, the gradient is that of one process. Columns and metrics come out alike on all ranks.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.checkpoint.state import load_state, save_state
from agentscope_tuner.errors import InputError
from agentscope_tuner.training import forward
from agentscope_tuner.training.backward import backward_through_head
from agentscope_tuner.training.master_weights import adder
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.packing import (
    DEFAULT_PACK_SIZE,
    PackSize,
    pack_batch,
    without_gradient,
)
from agentscope_tuner.training.saving import save_model_directory
from agentscope_tuner.training.sharded.model import Part, ShardedModel
from agentscope_tuner.training.sharded.shards import whole_weights
from agentscope_tuner.training.token_metrics import TokenMetrics, of_update
from agentscope_tuner.training.updates import Updates

SHARDS = "shards"
"""Folder in `tuner_state/`: the optimizer, in as many parts as there were ranks; absent while no
update has had a gradient."""
UPDATES = "updates.pt"
"""How many updates there have been."""


class ShardedLearner:
    """One rank of a learner. Adapters are not served."""

    def __init__(
        self,
        model: PreTrainedModel,
        mesh: DeviceMesh,
        *,
        optimizer: OptimizerSettings,
        compute_dtype: torch.dtype = torch.bfloat16,
        pack_size: PackSize = DEFAULT_PACK_SIZE,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        """Take over `model` (float32 weights, alike on all ranks), in place, on the mesh's device.

        Raises InputError if the architecture is not known.
        """
        self._shards = ShardedModel(model, mesh, compute_dtype, pack_size)
        self._tokenizer = tokenizer
        self._compute_dtype = compute_dtype
        self._updates = Updates(dict(model.named_parameters()), optimizer)

    @property
    def model(self) -> PreTrainedModel:
        """In shards, on this rank."""
        return self._shards.model

    def forward(self, batch: Batch, columns: Collection[str]) -> None:
        """Fill `proximal` and `current`, under the weights as they are now, and `entropy`.

        Raises InputError, which names it, for any other column.
        """
        if others := set(columns) - {"proximal", "current", "entropy"}:
            raise InputError(f"a learner in shards does not know {', '.join(sorted(others))}")
        found = self._shards.columns(batch)
        found["proximal"] = found["current"]
        batch.columns |= {name: found[name] for name in columns}

    def forward_backward(self, batch: Batch, algorithm: Algorithm) -> dict[str, float]:
        """Add the gradient of one prepared batch; see `LocalLearner.forward_backward`."""
        skipped = without_gradient(batch, algorithm)
        packs = pack_batch(batch, self._shards.pack_size, without=skipped)
        metrics, loss = TokenMetrics(), 0.0
        parts: list[Part] = []
        self.model.train()  # activations are computed twice instead of kept
        for pack, counts in self._shards.own(packs):
            told = metrics if counts else TokenMetrics()
            share, learnt = self._backward(pack, batch, algorithm, told, counts)
            if counts:
                loss += share
                parts.append((torch.from_numpy(pack.rows_N), learnt))
        learnt_columns = self._shards.joined(len(batch), ("learner", "entropy", "loss"), parts)
        learnt_columns["loss"] = learnt_columns["loss"].nan_to_num(0.0)
        batch.columns |= learnt_columns
        merged = TokenMetrics()
        losses = []
        for other_loss, (sums, largest) in self._shards.gathered((loss, metrics.plain())):
            losses.append(other_loss)
            merged.add_plain(sums, largest)
        return of_update(len(batch), packs, sum(losses), merged)

    def optim_step(self, at: float) -> dict[str, float]:
        """Update the weights; see `LocalLearner.optim_step`."""
        return {f"policy/{name}": value for name, value in self._updates.step(at).items()}

    def weights(self) -> dict[str, Tensor]:
        """All weights, whole, in the compute dtype, under their Hugging Face names."""
        weights = whole_weights(self.model)
        return {name: weight.to(self._compute_dtype) for name, weight in weights.items()}

    def save(self, directory: Path) -> None:
        """Write a complete Hugging Face model directory (rank 0 does), and `tuner_state/`, to which
        every rank writes its part: all of them need to see the directory."""
        weights = whole_weights(self.model)
        state = directory / "tuner_state"
        state.mkdir(parents=True, exist_ok=True)
        if self._shards.rank == 0:
            save_model_directory(directory, self.model, weights, self._tokenizer)
            save_state(state / UPDATES, {"step": self._updates.done})
        if self._updates.optimizer.state:  # else no update had a gradient
            dcp.save(
                self._optimizer_state(),
                checkpoint_id=state / SHARDS,
                process_group=self._shards.group,
            )

    def load(self, directory: Path) -> None:
        """Go on where `save` was called, by however many ranks. The weights are those of the model
        that this one was made with."""
        state = directory / "tuner_state"
        self._updates.done = load_state(state / UPDATES)["step"]
        if not (state / SHARDS).exists():
            return
        for weight in self.model.parameters():
            weight.grad = None  # else an optimizer that has made no update has no state to fill
        optimizer = self._optimizer_state()
        dcp.load(optimizer, checkpoint_id=state / SHARDS, process_group=self._shards.group)
        set_optimizer_state_dict(
            self.model, self._updates.optimizer, optim_state_dict=optimizer["optimizer"]
        )
        for weight in self.model.parameters():
            weight.grad = torch.zeros_like(weight)

    def _backward(
        self,
        pack: Pack,
        batch: Batch,
        algorithm: Algorithm,
        metrics: TokenMetrics,
        counts: bool,
    ) -> tuple[float, dict[str, Tensor]]:
        """Add a pack's share of the gradient; its share of the loss, and what was learnt of it."""
        rows_N = torch.from_numpy(pack.rows_N)
        columns = {name: c[rows_N].to(self._shards.device) for name, c in batch.columns.items()}
        hidden_NE = self._shards.states(pack)
        head = forward.head_of(self.model, pack, columns.get("other_ids"))
        weight_VE = head.weight_VE
        head.weight_VE = weight_VE.detach().requires_grad_()
        # Of no size itself: its gradient is the head's, added up in float32.
        summed = torch.empty((), device=self._shards.device).expand_as(weight_VE)
        summed.grad = torch.zeros(weight_VE.shape, device=self._shards.device)
        head.weight_VE.register_post_accumulate_grad_hook(adder(summed))
        scale = float(self._shards.world) if counts else 0.0
        hidden_grad_NE, total, learnt = backward_through_head(
            head, hidden_NE, algorithm, columns, metrics, scale
        )
        gradients = [hidden_grad_NE, summed.grad.to(weight_VE.dtype)]
        torch.autograd.backward([hidden_NE, weight_VE], gradients)
        return total.item(), learnt

    def _optimizer_state(self) -> dict[str, Any]:
        return {"optimizer": get_optimizer_state_dict(self.model, self._updates.optimizer)}
