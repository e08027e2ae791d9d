"""What a client did wrong, in OpenAI's error form."""

from __future__ import annotations

from typing import Any

MAX_MESSAGE = 1000
"""Characters of a message, which may quote the request."""


class RequestError(Exception):
    """A request that is refused: a 4xx with a message that names what is wrong.

    Nothing of a refused request is recorded.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int = 400,
        kind: str = "invalid_request_error",
    ) -> None:
        message = message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}..."
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.status = status
        self.kind = kind

    @classmethod
    def internal(cls, error: Exception) -> RequestError:
        """A fault of our own, as its caller sees it."""
        return cls(f"internal error: {error!r}", status=500, kind="server_error")

    def body(self) -> dict[str, Any]:
        """The response body, as OpenAI's clients read it."""
        return error_body(self.message, self.kind, self.param, self.code)


def error_body(
    message: str, kind: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """OpenAI's error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
