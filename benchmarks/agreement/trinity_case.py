"""How a case against Trinity-RFT is written down."""

from __future__ import annotations

from typing import Any

from agreement.cases import Case, ours

PEER = "Trinity-RFT"


def case(algorithm_type: str, what: str, **more: Any) -> Case:
    """One against Trinity; `settings` are ours, `there` theirs, `question` more that is asked."""
    settings, there = more.pop("settings", {}), more.pop("there", {})
    given, question = more.pop("given", False), more.pop("question", {})
    theirs = {"type": more.pop("theirs", algorithm_type), "given": given, **question}
    theirs["settings"] = {"kl_loss_fn": "none", **there}
    answer = ours(algorithm_type, given=given, **settings)
    return Case(algorithm_type, what, PEER, answer, theirs, **more)


def loss_args(**arguments: Any) -> dict[str, Any]:
    """The setting that both sides know."""
    return {"policy_loss_fn_args": arguments}


def advantage_args(**arguments: Any) -> dict[str, Any]:
    """The setting that both sides know."""
    return {"advantage_fn_args": arguments}


def both(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same settings here and there."""
    return {"settings": arguments, "there": arguments}
