"""From a pack to hidden states and the head that turns them into log-probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.architecture import check_architecture
from agentscope_tuner.training import tree_attention
from agentscope_tuner.training.forgetting import forget_between_products, keeping_inputs_only
from agentscope_tuner.training.pack import Ints, Pack
from agentscope_tuner.training.shared_prefix import Bundle, Prefix
from agentscope_tuner.training.token_logprobs import Head
from agentscope_tuner.training.tree_layout import TreeLayout

MODEL_TYPES = ("gemma3_text", "llama", "qwen2", "qwen3")
"""Decoders whose attention takes a layout and whose logits are `lm_head(hidden)`."""


def prepare(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """Move the model and make it attend along trees; returns it.

    Raises InputError for an architecture that is unknown here or to the sampler.
    """
    check_trainable(model.config)
    model.set_attn_implementation(tree_attention.NAME)
    forget_between_products(model)
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


def states_of(
    model: PreTrainedModel, bundles: Iterable[Bundle], most_kept: float = float("inf")
) -> Iterator[tuple[Pack, Tensor]]:
    """Each pack with its `predecessor_states`, one after the other.

    Whoever goes backward from them does so before asking for the next, and asks until there is no
    more: a prefix that packs share has its own backward pass after the last of them. Of packs with
    more than `most_kept` tokens layers keep their inputs alone.
    """
    for bundle in bundles:
        prefix = _computed(model, bundle) if bundle.prefix else None
        for pack in bundle.packs:
            if torch.is_grad_enabled():
                # In training mode activations are computed twice instead of kept.
                model.train(len(pack.token_ids_T) > most_kept)
            yield pack, predecessor_states(model, pack, prefix)
        if prefix is not None:
            prefix.backward()


def predecessor_states(model: PreTrainedModel, pack: Pack, prefix: Prefix | None = None) -> Tensor:
    """Hidden states [N, E] that the pack's trained tokens are predicted from.

    `prefix`: what the pack's first tokens are known to be.
    """
    first = prefix.size if prefix is not None else 0
    layout = TreeLayout(pack.position_ids_T, pack.subtree_end_T, model.device, first)
    hidden_TE = _hidden_states(model, pack.token_ids_T, layout, prefix)
    return hidden_TE[_on(pack.predecessors_N - first, model.device)]


def _computed(model: PreTrainedModel, bundle: Bundle) -> Prefix:
    """The prefix that a bundle's packs share."""
    model.eval()  # no pack of theirs is computed twice
    prefix, pack = Prefix(bundle.prefix), bundle.packs[0]
    rows = slice(prefix.size)
    ends_P = pack.subtree_end_T[rows].clip(max=prefix.size)
    layout = TreeLayout(pack.position_ids_T[rows], ends_P, model.device)
    _hidden_states(model, pack.token_ids_T[rows], layout, prefix)
    return prefix


def _hidden_states(
    model: PreTrainedModel, token_ids_T: Ints, layout: TreeLayout, prefix: Prefix | None
) -> Tensor:
    """The decoder's last hidden states of a row's tokens from the layout's first query on."""
    decoder: Any = model.get_decoder()
    # In training mode layers are computed again as a whole.
    keeps = torch.is_grad_enabled() and not model.training
    with keeping_inputs_only() if keeps else nullcontext():
        hidden_1TE: Tensor = decoder(
            input_ids=_on(token_ids_T[layout.first :], model.device)[None],
            position_ids=_on(layout.position_ids_T[layout.first :], model.device)[None],
            use_cache=False,
            tree=layout,
            prefix=prefix,
        ).last_hidden_state
    return hidden_1TE[0]


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


def _on(array: NDArray, device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device)
