"""From a request's body to the request, or to a refusal that names what is wrong."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.limits import check_items
from agentscope_tuner.chat.request import ChatRequest

Body = TypeVar("Body", bound=BaseModel)


def parse_request(body: bytes) -> ChatRequest:
    """The request in `body`.

    Raises `RequestError`, naming the field, if it is no JSON, has wrong types, or asks for
    something that is not served.
    """
    return checked(validated(ChatRequest, body))


def read_json(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`; RequestError if there is none."""
    check_items(body)
    try:
        fields = from_json(body)
    except ValueError as error:
        raise RequestError(f"The request body is not valid JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise RequestError("The request body is no JSON object.")
    return fields


def refuse_other_parts(content: Any, served: Collection[str], where: str) -> None:
    """RequestError, naming its type, for a part of a message that is not served (an image)."""
    for part in content if isinstance(content, list) else ():
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind not in served:
            known = ", ".join(map(repr, served))
            raise RequestError(
                f"{where}: a content part of type {kind!r} is not served, only {known}.",
                param=where,
            )


def validated(form: type[Body], body: bytes | dict[str, Any]) -> Body:
    """JSON text, or what was read of it, as a model; RequestError if it is none."""
    if isinstance(body, bytes):
        check_items(body)
    try:
        if isinstance(body, bytes):
            return form.model_validate_json(body)
        return form.model_validate(body)
    except ValidationError as error:
        raise _refusal(error) from None


def checked(request: ChatRequest) -> ChatRequest:
    """The request; RequestError if its fields do not go together."""
    if request.top_logprobs and not request.logprobs:
        raise RequestError("top_logprobs needs logprobs to be true.", param="top_logprobs")
    form = request.response_format
    if form is not None and (form.type == "json_schema") != (form.json_schema is not None):
        raise RequestError(
            "response_format.json_schema belongs to the type json_schema, and to it alone.",
            param="response_format",
        )
    if request.stream_options and not request.stream:
        raise RequestError("stream_options needs stream to be true.", param="stream_options")
    return request


def _refusal(error: ValidationError) -> RequestError:
    # Of a field that may be text or a list, the error that looked furthest knows what was meant.
    errors = error.errors(include_url=False, include_input=False)
    first = max(errors, key=lambda one: len(one["loc"]))
    if first["type"] == "json_invalid":
        return RequestError(f"The request body is not valid JSON: {first['msg']}.")
    # The names of pydantic's union members are no part of the field's path.
    path = [str(at) for at in first["loc"] if isinstance(at, int) or str(at).isidentifier()]
    param = ".".join(path)
    if first["type"] == "extra_forbidden":
        return RequestError(f"{param} is not served here: remove it from the request.", param=param)
    message = first["msg"].removeprefix("Value error, ")
    return RequestError(f"{param}: {message}.", param=param or None)
