"""From a pack to hidden states and the head that turns them into log-probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.architecture import check_architecture
from agentscope_tuner.training import tree_attention
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.token_logprobs import Head
from agentscope_tuner.training.tree_layout import TreeLayout

MODEL_TYPES = ("gemma3_text", "llama", "qwen2", "qwen3")
"""Decoders whose attention takes a layout and whose logits are `lm_head(hidden)`."""


Reading = Callable[[Tensor], Tensor]
"""From ln p over the vocabulary [b, V], -inf outside of the support, to a row a token [b, ...]."""


def prepare(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """Move the model and make it attend along trees; returns it.

    Raises InputError for an architecture that is unknown here or to the sampler.
    """
    check_trainable(model.config)
    model.set_attn_implementation(tree_attention.NAME)
    module: torch.nn.Module = model
    module.to(device).eval()
    return model


def check_trainable(config: PreTrainedConfig) -> None:
    """Raise InputError for an architecture that is unknown here or to the sampler."""
    if config.model_type not in MODEL_TYPES:
        raise InputError(
            f"cannot train a model of type {config.model_type!r}; known types are: "
            f"{', '.join(MODEL_TYPES)}"
        )
    check_architecture(config)  # what the sampler does not compute, as capped logits


def predecessor_states(model: PreTrainedModel, pack: Pack) -> Tensor:
    """Hidden states [N, E] that the pack's trained tokens are predicted from."""
    decoder: Any = model.get_decoder()
    hidden_1TE = decoder(
        input_ids=_on(pack.token_ids_T, model.device)[None],
        position_ids=_on(pack.position_ids_T, model.device)[None],
        use_cache=False,
        tree=TreeLayout.of(pack, model.device),
    ).last_hidden_state
    return hidden_1TE[0, _on(pack.predecessors_N, model.device)]


def head_of(model: PreTrainedModel, pack: Pack, others_NK: Tensor | None = None) -> Head:
    """The head that gives the pack's tokens their probability under what was drawn from.

    That is at the recorded temperature, within the recorded support. `others_NK`: further tokens
    that are asked for beside each.
    """
    output: Any = model.get_output_embeddings()
    return Head(
        weight_VE=output.weight,
        targets_N=_on(pack.targets_N, model.device),
        temperatures_N=_on(pack.temperatures_N, model.device),
        supports=pack.supports,
        changes=pack.changes,
        others_NK=others_NK,
    )


@torch.no_grad()
def pack_logprobs(model: PreTrainedModel, pack: Pack) -> tuple[Tensor, Tensor]:
    """ln p of each trained token and the entropies in nats [N], without gradient."""
    return all_logprobs(head_of(model, pack), predecessor_states(model, pack))


def all_logprobs(head: Head, hidden_NE: Tensor) -> tuple[Tensor, Tensor]:
    """ln p of each trained token and the entropies in nats [N]."""
    chunks = [head.logprobs(hidden_NE[rows], rows)[:2] for rows in head.chunks()]
    return torch.cat([logprobs for logprobs, _ in chunks]), torch.cat([h for _, h in chunks])


@torch.no_grad()
def pack_distributions(model: PreTrainedModel, pack: Pack, read: Reading) -> Tensor:
    """What `read` makes of ln p over the vocabulary [b, V], for each trained token [N, ...]."""
    hidden_NE = predecessor_states(model, pack)
    head = head_of(model, pack)
    found = []
    for rows in head.chunks():
        logits_nV = hidden_NE[rows] @ head.weight_VE.T
        found += [read(logp_bV) for _, logp_bV, _ in head.distributions(logits_nV, rows)]
    return torch.cat(found)


def _on(array: NDArray, device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device)
