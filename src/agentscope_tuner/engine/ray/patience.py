"""How long the driver waits for what, in seconds; then it says so and does something about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """Every wait for somebody else has its end here."""

    place_s: float = 180.0
    """For an actor's process to be started somewhere, which imports all that it needs."""
    open_s: float = 1800.0
    """For an actor to load its models."""
    silence_s: float = 60.0
    """Without any sign of life of an actor; then it counts as lost."""
    weights_s: float = 3600.0
    """For all samplers to have new weights (`synchronizer.sync_timeout`)."""
    heartbeat_s: float = 2.0
    """An actor says something at least this often."""
    backoff_s: float = 0.5
    """Before a lost actor is started anew; doubled with each further loss in a row."""
    most_losses: int = 8
    """In a row, without one finished rollout in between, of one actor: then the run ends."""
