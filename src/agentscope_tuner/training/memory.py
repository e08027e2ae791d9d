"""What training needs of memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.inference.memory import count_parameters
from agentscope_tuner.training.forward import predecessor_states
from agentscope_tuner.training.lora import LoraSettings, add_adapters
from agentscope_tuner.training.packing import PackSize, pack_batch
from agentscope_tuner.training.samples import TrainingSample, as_group
from agentscope_tuner.training.saving import MOST_OF_A_FILE


def tuning_bytes(
    config: PreTrainedConfig,
    dtype: torch.dtype,
    lora: LoraSettings | None,
    *,
    reference: bool,
    merged_at_once: bool = False,
) -> dict[str, float]:
    """What a learner that computes in `dtype` holds, in bytes by what it is for.

    All weights have a gradient and Adam's two moments in float32, and a float32 master beside a
    lower `dtype`. With adapters only these do, and of the frozen weights those of one file of a
    checkpoint are there once more, merged; all of them, where they are merged at once. A reference
    is another copy in `dtype`, but with adapters the model without them is the reference.
    """
    parameters = count_parameters(config)
    frozen = parameters * dtype.itemsize
    trained = parameters
    needs: dict[str, float] = {}
    if lora is not None:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
            add_adapters(model, lora)
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        merged = frozen if merged_at_once else min(frozen, MOST_OF_A_FILE)
        needs = {"frozen weights": frozen, "merged": merged}
    copy = 0 if dtype == torch.float32 else dtype.itemsize
    needs |= {
        "adapters" if lora else "weights": trained * (4 + copy),
        "gradients": trained * 4,
        "optimizer": trained * 8,
    }
    if reference and lora is None:
        needs["reference"] = frozen
    return needs


def critic_bytes(config: PreTrainedConfig, dtype: torch.dtype, lora: LoraSettings | None) -> float:
    """What a critic of this model holds: as `tuning_bytes`, but nothing is merged for a sampler."""
    needs = tuning_bytes(config, dtype, lora, reference=False)
    needs.pop("merged", None)
    return sum(needs.values())


class _Made(TorchDispatchMode):
    """Notes the memory that every operation's result has."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self._bytes[StorageWeakRef(storage)] = storage.nbytes()
        return result

    def left(self, without: Iterable[Tensor]) -> int:
        """Bytes that are still held, but for those of some tensors."""
        others = {StorageWeakRef(tensor.untyped_storage()) for tensor in without}
        return sum(n for ref, n in self._bytes.items() if not ref.expired() and ref not in others)


def activation_bytes_per_token(model: PreTrainedModel, tokens: int = 32) -> float:
    """What the decoder keeps of each token for the backward pass, measured on a row of `tokens`."""
    probe = TrainingSample([0] * (tokens + 1), [False] * tokens + [True])
    (pack,) = pack_batch(Batch([as_group([probe])]), PackSize(tokens + 1))
    with _Made() as made:
        states_NE = predecessor_states(model, pack)
    # As long as the states are held, so is all that their gradient needs.
    kept = made.left(without=model.parameters())
    del states_NE
    return kept / tokens
