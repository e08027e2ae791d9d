"""A learner in this process: packs rollouts, computes gradients, updates weights, saves them.

Its verbs are those of the Tinker interface (`forward`, `forward_backward`, `optim_step`), so that a
learner elsewhere is one more class with the same ones. It knows no algorithm.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.checkpoint.state import save_state
from agentscope_tuner.errors import InputError
from agentscope_tuner.heap import give_back_freed_memory, keep_freed_memory, map_large_blocks
from agentscope_tuner.inference.memory import free_memory
from agentscope_tuner.inference.threads import release_threads
from agentscope_tuner.training import forward, reading
from agentscope_tuner.training.backward import backward_through_head
from agentscope_tuner.training.columns import columns_of, own_columns
from agentscope_tuner.training.lora import LoraSettings, MergedWeights, add_adapters
from agentscope_tuner.training.master_weights import MasterWeights
from agentscope_tuner.training.memory import activation_bytes_per_token
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.packing import (
    DEFAULT_PACK_SIZE,
    PackSize,
    pack_batch,
    without_gradient,
)
from agentscope_tuner.training.reading import Columns, Reader
from agentscope_tuner.training.recomputation import recompute_activations
from agentscope_tuner.training.saving import save_model_directory
from agentscope_tuner.training.shared_prefix import bundles_of
from agentscope_tuner.training.token_metrics import TokenMetrics, of_update
from agentscope_tuner.training.updates import Updates

LEARNER_STATE = "learner.pt"
ADAPTER_DIRECTORY = "adapter"
"""In a checkpoint of a run with adapters: they alone, as peft saves them."""
LARGE_BYTES = 10**9
"""Weights that do not fit into the holes of freed memory that a learner keeps. With smaller ones
giving it back costs a hundredth of a step and more, until the learner has it again, and saves 3% of
135M's."""


class LocalLearner:
    """One model and its optimizer on one device."""

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        optimizer: OptimizerSettings,
        device: torch.device | str = "cpu",
        compute_dtype: torch.dtype = torch.bfloat16,
        pack_size: PackSize = DEFAULT_PACK_SIZE,
        lora: LoraSettings | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        """Take over `model` (float32 weights): it is moved, converted and trained in place.

        `compute_dtype` bfloat16 keeps float32 master weights beside it. `tokenizer` is saved with
        the model. Raises InputError if the architecture is not known.
        """
        self.device = torch.device(device)
        self._keep_freed_memory()
        self.model = forward.prepare(model, self.device)
        self.pack_size = pack_size
        self._tokenizer = tokenizer
        self._adapters = None if lora is None else add_adapters(model, lora)
        recompute_activations(model)
        self._masters = MasterWeights(model, compute_dtype)
        self._updates = Updates(self._masters.by_name, optimizer)
        per_token = activation_bytes_per_token(self.model)
        self._most_kept_tokens = free_memory(self.device) / 2 / per_token
        """Tokens of a pack up to which activations are kept and not computed again."""

    def forward(self, batch: Batch, columns: Collection[str]) -> None:
        """Fill columns of a batch, without gradient.

        `proximal` and `current` are under the weights as they are now, with `entropy` beside them;
        `reference` is under the model without its adapters. Raises InputError if it has none.
        """
        self._keep_freed_memory()
        if "reference" in columns:
            if self._adapters is None:
                raise InputError("a KL term needs a reference model beside one tuned in full")
            with self._adapters.disable_adapter():
                batch.columns["reference"] = self._columns(batch, reading.LOGPROBS)["current"]
        batch.columns |= own_columns(columns, partial(self._columns, batch))

    def forward_backward(self, batch: Batch, algorithm: Algorithm) -> dict[str, float]:
        """Add the gradient of one prepared batch: the sum over its tokens of weight times loss.

        The gradient is the same however the batch is packed. Rollouts none of whose tokens can have
        a gradient (their weight is 0, or their advantage is and the algorithm learns nothing from
        that) count in the weights and in `train/tokens`, but are not computed. The columns
        `learner`, `entropy` and `loss` are filled for the others.
        """
        self._keep_freed_memory()
        skipped = without_gradient(batch, algorithm)
        packs = pack_batch(batch, self.pack_size, without=skipped)
        metrics = TokenMetrics()
        learnt = {name: torch.full((len(batch),), torch.nan) for name in ("learner", "entropy")}
        learnt["loss"] = torch.zeros(len(batch))
        bundles = list(bundles_of(packs, self._most_kept_tokens))
        loss = sum(
            self._backward(pack, hidden_NE, batch, algorithm, learnt, metrics)
            for pack, hidden_NE in forward.states_of(self.model, bundles, self._most_kept_tokens)
        )
        batch.columns |= learnt
        return of_update(
            len(batch), packs, loss, metrics, saved=sum(bundle.saved for bundle in bundles)
        )

    def optim_step(self, at: float) -> dict[str, float]:
        """Update the weights with the accumulated gradient and forget it.

        `at` is how much of the run is done, in steps: 3.5 is the second of two updates of the
        fourth step. Without a gradient (no rollout had an advantage) the weights stay as they are;
        the schedule goes on. Raises RunError if the gradient is not finite.
        """
        metrics = self._updates.step(at)
        self._masters.publish()
        # The sampler computes next.
        release_threads()
        return {f"policy/{name}": value for name, value in metrics.items()}

    @property
    def step(self) -> int:
        """Calls of `optim_step` so far."""
        return self._updates.done

    def weights(self) -> Mapping[str, Tensor]:
        """The model's weights under their Hugging Face names, in the compute dtype.

        Not copies: they change with the next `optim_step`. One with an adapter is merged when it is
        asked for. A head that is tied to the embedding appears once, under the embedding's name.
        If they are large, freed memory that the learner has kept is given back first, and large
        blocks are given back at once until it learns again: whoever asks for them makes others
        from them.
        """
        if sum(parameter.nbytes for parameter in self.model.parameters()) >= LARGE_BYTES:
            map_large_blocks()
        if self._adapters is not None:
            return MergedWeights(self.model)
        return {name: weight.detach() for name, weight in self.model.named_parameters()}

    def save(self, directory: Path) -> None:
        """Write a complete Hugging Face model directory, the adapters alone if there are any, and
        `tuner_state/` with what resuming needs."""
        self.save_model(directory, self._tokenizer)
        if self._adapters is not None:
            self.save_adapter(directory / ADAPTER_DIRECTORY)
        state = directory / "tuner_state"
        state.mkdir(exist_ok=True)
        save_state(state / LEARNER_STATE, self.state_dict())

    def save_model(self, directory: Path, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        """Write a complete Hugging Face model directory.

        Full tuning writes the float32 weights, from which training resumes exactly; with adapters,
        the merged weights as they are sampled from.
        """
        weights: Mapping[str, Tensor]
        if self._adapters is None:
            weights = {name: weight.detach() for name, weight in self._masters.by_name.items()}
        else:
            weights = self.weights()
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
            **self._updates.state_dict(),
            "adapters": {name: weight.detach() for name, weight in adapters.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._updates.load_state_dict(state)
        with torch.no_grad():
            for name, weight in state["adapters"].items():
                self._masters.by_name[name].copy_(weight)
        self._masters.publish()

    def release(self) -> None:
        """Give the memory back; the learner cannot be used any more."""
        self._updates.release()
        self._masters.by_name.clear()
        for parameter in self.model.parameters():
            parameter.data = parameter.data.new_empty(0)
        give_back_freed_memory()

    def _keep_freed_memory(self) -> None:
        """For whatever computes activations: `weights` may have ended it."""
        if self.device.type == "cpu":
            keep_freed_memory()

    def _backward(
        self,
        pack: Pack,
        hidden_NE: Tensor,
        batch: Batch,
        algorithm: Algorithm,
        learnt: Mapping[str, Tensor],
        metrics: TokenMetrics,
    ) -> float:
        """Add a pack's share of the gradient, note what was learnt of its tokens, and return its
        share of the loss."""
        rows_N = torch.from_numpy(pack.rows_N)
        columns = {name: c[rows_N].to(self.device) for name, c in batch.columns.items()}
        head = forward.head_of(self.model, pack, columns.get("other_ids"))
        hidden_grad_NE, total, found = backward_through_head(
            head, hidden_NE, algorithm, columns, metrics
        )
        for name, values_N in found.items():
            learnt[name][rows_N] = values_N
        hidden_NE.backward(hidden_grad_NE)
        return total.item()

    def _columns(self, batch: Batch, reader: Reader) -> Columns:
        return columns_of(self.model, batch, self.pack_size, reader)
