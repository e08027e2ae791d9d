"""A learner spread over several processes: every rank calls every verb, with the same arguments.

The packs of a batch are dealt to the ranks, and their gradients added up (FSDP2 divides by the
number of ranks, so each loss is multiplied by it). As weights of tokens are shares of the whole
batch's loss, the gradient is that of one process. Columns and metrics come out alike on all ranks.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path

import torch
from peft import set_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.errors import InputError
from agentscope_tuner.training import forward
from agentscope_tuner.training.backward import backward_through_head
from agentscope_tuner.training.columns import own_columns
from agentscope_tuner.training.learner import ADAPTER_DIRECTORY
from agentscope_tuner.training.lora import LoraSettings, add_adapters
from agentscope_tuner.training.master_weights import added_up
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.packing import (
    DEFAULT_PACK_SIZE,
    PackSize,
    pack_batch,
    without_gradient,
)
from agentscope_tuner.training.reading import LOGPROBS, Part
from agentscope_tuner.training.saving import save_model_directory
from agentscope_tuner.training.sharded.model import ShardedModel
from agentscope_tuner.training.sharded.shards import trained, whole, whole_weights
from agentscope_tuner.training.sharded.state import load_updates, save_updates
from agentscope_tuner.training.token_metrics import TokenMetrics, of_update
from agentscope_tuner.training.updates import Updates


class ShardedLearner:
    """One rank of a learner: what `LocalLearner` is in one process."""

    def __init__(
        self,
        model: PreTrainedModel,
        mesh: DeviceMesh,
        *,
        optimizer: OptimizerSettings,
        compute_dtype: torch.dtype = torch.bfloat16,
        pack_size: PackSize = DEFAULT_PACK_SIZE,
        lora: LoraSettings | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        """Take over `model` (float32 weights, alike on all ranks), in place, on the mesh's device.

        With `checkpoint` go on from there, by however many ranks: the model is its own, but with
        adapters the one that they were added to.

        Raises InputError if the architecture is not known.
        """
        self._adapters = None if lora is None else add_adapters(model, lora)
        if self._adapters is not None and checkpoint is not None:
            file = checkpoint / ADAPTER_DIRECTORY / SAFETENSORS_WEIGHTS_NAME
            set_peft_model_state_dict(self._adapters, load_file(file))
        self._shards = ShardedModel(model, mesh, compute_dtype, pack_size)
        self._tokenizer = tokenizer
        self._compute_dtype = compute_dtype
        self._updates = Updates(trained(model), optimizer)
        if checkpoint is not None:
            load_updates(checkpoint / "tuner_state", model, self._updates, self._shards.group)

    @property
    def model(self) -> PreTrainedModel:
        """In shards, on this rank."""
        return self._shards.model

    def forward(self, batch: Batch, columns: Collection[str]) -> None:
        """See `LocalLearner.forward`."""
        read = partial(self._shards.columns, batch)
        if "reference" in columns:
            if self._adapters is None:
                raise InputError("a KL term needs a reference model beside one tuned in full")
            with self._adapters.disable_adapter():
                batch.columns["reference"] = read(LOGPROBS)["current"]
        batch.columns |= own_columns(columns, read)

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
        learnt_columns = self._shards.joined(len(batch), parts, ("learner", "entropy", "loss"))
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
        """All weights, whole, on the processor, in the compute dtype, under their Hugging Face
        names."""
        weights = whole_weights(self.model, self._compute_dtype)
        return {name: weight.cpu() for name, weight in weights.items()}

    def save(self, directory: Path) -> None:
        """Write what `LocalLearner.save` does (rank 0 does), and `tuner_state/`, to which every
        rank writes its part: all of them need to see the directory."""
        full = self._adapters is None
        weights = whole_weights(self.model, torch.float32 if full else self._compute_dtype)
        adapters = (
            {name: whole(weight.detach()) for name, weight in trained(self._adapters).items()}
            if self._adapters is not None
            else {}
        )
        save_updates(directory / "tuner_state", self.model, self._updates, self._shards.group)
        if self._shards.rank == 0:
            save_model_directory(directory, self.model, weights, self._tokenizer)
            if self._adapters is not None:
                into = str(directory / ADAPTER_DIRECTORY)
                self._adapters.save_pretrained(into, state_dict=adapters)

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
        tuned, summed = [hidden_NE], None
        if weight_VE.requires_grad:
            tuned.append(weight_VE)
            head.weight_VE = weight_VE.detach().requires_grad_()
            summed = added_up(head.weight_VE)
        scale = float(self._shards.world) if counts else 0.0
        hidden_grad_NE, total, learnt = backward_through_head(
            head, hidden_NE, algorithm, columns, metrics, scale
        )
        gradients = [hidden_grad_NE]
        if summed is not None:
            gradients.append(summed.to(weight_VE.dtype))
        torch.autograd.backward(tuned, gradients)
        return total.item(), learnt
