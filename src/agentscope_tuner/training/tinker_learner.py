"""A learner at a Tinker service: the loss is computed here, its gradient there.

The service computes ln p of the trained tokens; the algorithm's loss of them is differentiated
here, and each token's derivative goes back as the weight of a linear loss, whose gradient in the
adapters is the loss's own.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import tinker
import torch
from tinker import types
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.tokens import Tokens
from agentscope_tuner.inference.tinker_service import (
    SavedAtService,
    TinkerService,
    TunedAtService,
    wait,
)
from agentscope_tuner.training.chains import chains
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.packing import without_gradient
from agentscope_tuner.training.tinker_data import (
    data_of,
    in_order,
    logprobs_under,
    rows_of,
    trained,
)
from agentscope_tuner.training.token_metrics import TokenMetrics, of_update

CONFIGURATION = ("config.json", "generation_config.json")
"""Of a model's files: what its lengths and its end are."""


class TinkerLearner:
    """Adapters and their optimizer at a service."""

    def __init__(
        self,
        service: TinkerService,
        training: tinker.TrainingClient,
        *,
        optimizer: OptimizerSettings,
        model: Path,
        tokenizer: PreTrainedTokenizerBase,
        updates: int = 0,
    ) -> None:
        """`training` is at `service`, which is taken over, and has had so many updates.

        `model` is the directory whose configuration is saved with checkpoints, as `tokenizer` is.
        """
        self._service = service
        self._training = training
        self._untuned: tinker.SamplingClient | None = None
        self._optimizer = optimizer
        self._model = model
        self._tokenizer = tokenizer
        self._has_gradient = False
        self._done = updates

    def forward(self, batch: Batch, columns: Collection[str]) -> None:
        """Fill columns of a batch, without gradient.

        `proximal` and `current` are under the weights as they are now, `reference` is under the
        model without adapters.
        """
        packs = list(chains(batch))
        if not packs:
            batch.columns |= {name: torch.empty(0) for name in columns}
            return
        if "reference" in columns:
            batch.columns["reference"] = self._reference(batch, packs)
        if own := set(columns) & {"proximal", "current"}:
            logprobs_N = self._logprobs(batch, packs)
            batch.columns |= {name: logprobs_N for name in own}

    def forward_backward(self, batch: Batch, algorithm: Algorithm) -> dict[str, float]:
        """Add the gradient of one prepared batch: the sum over its tokens of weight times loss.

        As `LocalLearner.forward_backward`, but for the column `entropy`, which the service does not
        give.
        """
        packs = list(chains(batch, without_gradient(batch, algorithm)))
        learnt = {"learner": torch.full((len(batch),), torch.nan), "loss": torch.zeros(len(batch))}
        metrics = TokenMetrics()
        total = 0.0
        if packs:
            rows_N = rows_of(packs)
            columns = {name: column[rows_N] for name, column in batch.columns.items()}

            def loss_of(
                data: list[types.Datum], logprobs: list[Tensor]
            ) -> tuple[Tensor, dict[str, float]]:
                logprobs_N = trained(packs, logprobs)
                unknown_N = torch.full_like(logprobs_N.detach(), torch.nan)
                loss_N, extra = algorithm.loss(Tokens(logprobs_N, unknown_N, columns))
                learnt["learner"][rows_N] = logprobs_N.detach()
                learnt["loss"][rows_N] = loss_N.detach()
                metrics.add_all(extra)
                return (columns["weight"] * loss_N).sum(), {}

            future = self._training.forward_backward_custom(data_of(packs), loss_of)
            total = wait(future, "compute a gradient").metrics["loss:sum"]
            self._has_gradient = True
        batch.columns |= learnt
        return of_update(len(batch), packs, total, metrics)

    def optim_step(self, at: float) -> dict[str, float]:
        """Update the adapters with the accumulated gradient; see `LocalLearner.optim_step`.

        The service does not say how large the gradient was.
        """
        settings = self._optimizer
        lr = settings.lr_at(at)
        if self._has_gradient:
            beta1, beta2 = settings.betas
            params = types.AdamParams(
                learning_rate=lr,
                beta1=beta1,
                beta2=beta2,
                eps=settings.eps,
                weight_decay=settings.weight_decay,
                grad_clip_norm=settings.grad_clip or 0.0,
            )
            wait(self._training.optim_step(params), "take a step")
            self._has_gradient = False
        self._done += 1
        return {"policy/lr": lr}

    def weights(self) -> Mapping[str, Tensor]:
        """The weights as they are at the service when a sampler adopts them."""
        return TunedAtService(self._training)

    def save(self, directory: Path) -> None:
        """Save the adapters at the service, and write their address and the files by which its
        tokens are read."""
        name = f"update-{self._done}"
        saved = (
            self._training.save_state(name, overwrite=True),
            self._training.save_weights_for_sampler(name),
        )
        state, sampler = (wait(future, "save the weights").path for future in saved)
        where = SavedAtService(self._service.model, state, sampler, self._done)
        for name in CONFIGURATION:
            if (self._model / name).is_file():
                shutil.copyfile(self._model / name, directory / name)
        self._tokenizer.save_pretrained(directory)
        where.write(directory)

    def release(self) -> None:
        """End the session at the service."""
        self._service.close()

    def _logprobs(self, batch: Batch, packs: Sequence[Pack]) -> Tensor:
        future = self._training.forward(data_of(packs), "cross_entropy")
        outputs = wait(future, "compute probabilities").loss_fn_outputs
        found = [output["logprobs"].to_torch() for output in outputs]
        return in_order(batch, packs, trained(packs, found))

    def _reference(self, batch: Batch, packs: Sequence[Pack]) -> Tensor:
        if self._untuned is None:
            self._untuned = self._service.untuned()
        return in_order(batch, packs, trained(packs, logprobs_under(self._untuned, packs)))
