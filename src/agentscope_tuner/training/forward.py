"""Log-probabilities of a pack's trained tokens under a Hugging Face decoder."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from agentscope_tuner.errors import InputError
from agentscope_tuner.training import tree_attention
from agentscope_tuner.training.packing import Pack
from agentscope_tuner.training.token_logprobs import Head, token_logprobs
from agentscope_tuner.training.tree_attention import TreeLayout

MODEL_TYPES = ("gemma3_text", "llama", "qwen2", "qwen3")
"""Decoders whose attention takes a layout and whose logits are `lm_head(hidden)`, capped or not."""


def prepare(model: PreTrainedModel) -> None:
    """Make the model attend along trees. Raises InputError for an architecture that is not known."""
    if model.config.model_type not in MODEL_TYPES:
        raise InputError(
            f"cannot train a model of type {model.config.model_type!r}; known types are: "
            f"{', '.join(MODEL_TYPES)}"
        )
    model.set_attn_implementation(tree_attention.NAME)


def pack_logprobs(model: PreTrainedModel, pack: Pack) -> tuple[Tensor, Tensor]:
    """ln p of each trained token over its support, and the entropy there in nats, both [N].

    The log-probabilities are those of the distribution that was drawn from: at the recorded
    temperature, within the recorded support.
    """
    device = model.device
    decoder = model.get_decoder()
    hidden_1TE = decoder(
        input_ids=_on(pack.token_ids_T, device)[None],
        position_ids=_on(pack.position_ids_T, device)[None],
        use_cache=False,
        tree=TreeLayout.of(pack, device),
    ).last_hidden_state
    head = Head(
        targets_N=_on(pack.targets_N, device),
        temperatures_N=_on(pack.temperatures_N, device),
        supports=pack.supports,
        softcap=getattr(model.config, "final_logit_softcapping", None),
    )
    hidden_NE = hidden_1TE[0, _on(pack.predecessors_N, device)]
    return token_logprobs(hidden_NE, model.get_output_embeddings().weight, head)


def _on(array, device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device)
