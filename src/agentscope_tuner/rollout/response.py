"""What a workflow answered, kept so that a judge can be given it again.

AgentScope's messages, and whatever JSON has a form for (texts, numbers, lists, dictionaries), come
back as they were. Of everything else only the text is known.
"""

from __future__ import annotations

import json
from typing import Any

from agentscope_tuner.chat_model import message_fields, message_of
from agentscope_tuner.trajectory import Rollout


def kept_response(response: Any) -> dict[str, Any] | None:
    """The response as plain data that holds nothing of the user's; None if it has no such form.

    To be called behind `boundary`: the object is the user's code.
    """
    fields = message_fields(response)
    kept = {"value": response} if fields is None else {"message": fields}
    try:
        plain: dict[str, Any] = json.loads(json.dumps(kept, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return None
    return plain if plain == kept else None  # a tuple, a number as a key: not what it was


def response_of(rollout: Rollout) -> Any:
    """What to give a judge of a recorded rollout: the response; its text as a message if only that
    is known."""
    if rollout.answer is None:
        return message_of({"name": "agent", "role": "assistant", "content": rollout.response})
    if "message" in rollout.answer:
        return message_of(rollout.answer["message"])
    return rollout.answer["value"]
