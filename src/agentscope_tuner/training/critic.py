"""The critic: a model of its own that says what return is to be expected at each trained token.

It is a copy of a decoder with a linear head of one output, computed along the same packs as the
policy: the value of a token comes from the hidden state that the token is predicted from, so it is
that of the state before the token is chosen. The copy is the critic's own: a trunk shared with the
policy would be pulled by two losses of different size, could not be warmed up alone, and would
learn at the policy's rate, which is a tenth of what a critic needs.

The head begins at zero: a critic that knows nothing expects nothing, and the first advantages are
the returns themselves rather than noise. It stays in float32, as values need more than bfloat16's
eight bits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.checkpoint.state import load_state, save_state
from agentscope_tuner.inference.memory import free_memory
from agentscope_tuner.inference.threads import release_threads
from agentscope_tuner.training import forward
from agentscope_tuner.training.lora import LoraSettings, add_adapters
from agentscope_tuner.training.master_weights import MasterWeights
from agentscope_tuner.training.memory import activation_bytes_per_token
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.packing import DEFAULT_PACK_SIZE, PackSize, pack_batch
from agentscope_tuner.training.recomputation import recompute_activations
from agentscope_tuner.training.shared_prefix import bundles_of
from agentscope_tuner.training.token_metrics import TokenMetrics
from agentscope_tuner.training.updates import Updates

CRITIC_STATE = "critic.pt"
"""In a checkpoint's `tuner_state/`: the critic's trained weights and its optimizer."""


class LocalCritic:
    """A value model and its optimizer on one device."""

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        optimizer: OptimizerSettings,
        device: torch.device | str = "cpu",
        compute_dtype: torch.dtype = torch.bfloat16,
        pack_size: PackSize = DEFAULT_PACK_SIZE,
        lora: LoraSettings | None = None,
    ) -> None:
        """Take over `model` (float32 weights), whose head of words is dropped.

        Raises InputError if the architecture is not known.
        """
        self.device = torch.device(device)
        self.model = forward.prepare(model, self.device)
        self.pack_size = pack_size
        model.set_output_embeddings(nn.Identity())
        if lora is not None:
            add_adapters(model, lora)
        recompute_activations(model)
        self._masters = MasterWeights(model, compute_dtype)
        self.head = nn.Linear(model.config.get_text_config().hidden_size, 1, device=self.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        head = {f"value_head.{name}": weight for name, weight in self.head.named_parameters()}
        self._weights: dict[str, Tensor] = self._masters.by_name | head
        self._updates = Updates(self._weights, optimizer)
        per_token = activation_bytes_per_token(model)
        self._most_kept_tokens = free_memory(self.device) / 2 / per_token
        """Tokens of a pack up to which activations are kept and not computed again."""

    def forward(self, batch: Batch, columns: Collection[str]) -> None:
        """Fill the columns (there is one, `value`) with the expected returns, without gradient."""
        values_N = torch.empty(len(batch))
        with torch.no_grad():
            for pack, hidden_NE in self._states(batch):
                values_N[torch.from_numpy(pack.rows_N)] = self._values(hidden_NE).cpu()
        batch.columns |= {name: values_N for name in columns}

    def forward_backward(self, batch: Batch, algorithm: Algorithm) -> dict[str, float]:
        """Add the gradient of the mean of the algorithm's `value_loss` over the batch's tokens.

        It is the same however the batch is packed. `critic/explained_variance` is of the values
        that the advantages were made with.
        """
        metrics = TokenMetrics("critic")
        for pack, hidden_NE in self._states(batch):
            rows_N = torch.from_numpy(pack.rows_N)
            columns = {name: c[rows_N].to(self.device) for name, c in batch.columns.items()}
            values_N = self._values(hidden_NE)
            loss_N, extra = algorithm.value_loss(values_N, columns)
            (loss_N.sum() / len(batch)).backward()
            metrics.add_all({"loss": loss_N, "value": values_N, **extra})
        self.model.eval()
        if not len(batch):
            return {}
        explained = explained_variance(batch.columns["value"], batch.columns["return"])
        return {**metrics.result(len(batch)), "critic/explained_variance": explained}

    def optim_step(self, at: float) -> dict[str, float]:
        """Update the weights with the accumulated gradient, where `at` steps of the run are done.

        Raises RunError if the gradient is not finite.
        """
        metrics = self._updates.step(at)
        self._masters.publish()
        release_threads()
        return {f"critic/{name}": value for name, value in metrics.items()}

    def save(self, directory: Path) -> None:
        """Write `tuner_state/critic.pt` into a checkpoint."""
        state = directory / "tuner_state"
        state.mkdir(parents=True, exist_ok=True)
        weights = {name: weight.detach() for name, weight in self._weights.items()}
        save_state(state / CRITIC_STATE, {**self._updates.state_dict(), "weights": weights})

    def load(self, directory: Path) -> None:
        """Go on where `save` was called. Raises RunError if the file cannot be read."""
        state: Mapping[str, Any] = load_state(directory / "tuner_state" / CRITIC_STATE)
        self._updates.load_state_dict(state)
        with torch.no_grad():
            for name, weight in state["weights"].items():
                self._weights[name].copy_(weight)
        self._masters.publish()

    def release(self) -> None:
        """Give the memory back; the critic cannot be used any more."""
        self._updates.release()
        self._masters.by_name.clear()
        self._weights.clear()
        for parameter in self.model.parameters():
            parameter.data = parameter.data.new_empty(0)

    def _states(self, batch: Batch) -> Iterator[tuple[Pack, Tensor]]:
        bundles = bundles_of(pack_batch(batch, self.pack_size), self._most_kept_tokens)
        return forward.states_of(self.model, bundles, self._most_kept_tokens)

    def _values(self, hidden_NE: Tensor) -> Tensor:
        """Expected returns at trained tokens [N], float32."""
        return self.head(hidden_NE.float())[:, 0]


def explained_variance(values_N: Tensor, returns_N: Tensor) -> float:
    """1 - Var(return - value) / Var(return): 1 is perfect, 0 no better than a constant.

    0 where all returns are the same.
    """
    spread = returns_N.double().var(correction=0)
    if spread == 0:
        return 0.0
    return float(1 - (returns_N - values_N).double().var(correction=0) / spread)
