"""What `select_model` hands to judges: AgentScope's form, which judges of `tune()` know too."""

from __future__ import annotations

from typing import Any


class Handed(dict[str, Any]):
    """`{"response": ..., "metrics": ...}` that is otherwise taken for the response itself.

    A judge for AgentScope's `select_model` reads its two fields; one that tunes the same agent asks
    it for the text or the metadata of a message, or looks for something in a text.
    """

    def __init__(self, response: Any, metrics: dict[str, Any]) -> None:
        super().__init__(response=response, metrics=metrics)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copying and pickling ask for these of what is still empty
            raise AttributeError(name)
        return getattr(self["response"], name)

    def __contains__(self, key: object) -> bool:
        response = self["response"]
        is_text = isinstance(response, str) and isinstance(key, str)
        return super().__contains__(key) or (is_text and key in response)

    def __eq__(self, other: object) -> bool:
        return dict(self) == other if isinstance(other, dict) else bool(self["response"] == other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def __str__(self) -> str:
        return str(self["response"])
