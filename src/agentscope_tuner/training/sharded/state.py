"""What resuming needs of an optimizer in shards, by however many ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from agentscope_tuner.checkpoint.state import load_state, save_state
from agentscope_tuner.training.updates import Updates

SHARDS = "shards"
"""Folder of the optimizer, in as many parts as there were ranks; checkpoints may lack it that were
written when averages began with the first gradient."""
UPDATES = "updates.pt"
"""How many updates there have been."""


def save_updates(
    directory: Path, model: nn.Module, updates: Updates, group: dist.ProcessGroup
) -> None:
    """Have every rank write its part into the directory, which all of them need to see."""
    directory.mkdir(parents=True, exist_ok=True)
    if dist.get_rank(group) == 0:
        save_state(directory / UPDATES, {"step": updates.done})
    state = _optimizer_state(model, updates)
    dcp.save(state, checkpoint_id=directory / SHARDS, process_group=group)


def load_updates(
    directory: Path, model: nn.Module, updates: Updates, group: dist.ProcessGroup
) -> None:
    """Go on where `save_updates` was called. The weights are the model's own matter."""
    updates.done = load_state(directory / UPDATES)["step"]
    if not (directory / SHARDS).exists():
        return
    state = _optimizer_state(model, updates)
    dcp.load(state, checkpoint_id=directory / SHARDS, process_group=group)
    set_optimizer_state_dict(model, updates.optimizer, optim_state_dict=state["optimizer"])


def _optimizer_state(model: nn.Module, updates: Updates) -> dict[str, Any]:
    return {"optimizer": get_optimizer_state_dict(model, updates.optimizer)}
