"""Activations computed again in the backward pass, under the name that transformers has for it."""

from __future__ import annotations

from transformers import PreTrainedModel


def recompute_activations(model: PreTrainedModel) -> None:
    """Keep the inputs of layers only; takes effect in training mode."""
    # The first name is that of later releases, which warn of the second; vLLM wants earlier ones.
    name = "activation_checkpointing_enable"
    getattr(model, name if hasattr(model, name) else "gradient_checkpointing_enable")()
