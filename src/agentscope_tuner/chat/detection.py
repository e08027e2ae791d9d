"""Which renderer fits a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from renderers import Llama3RendererConfig, Qwen3RendererConfig, create_renderer
from renderers.base import MODEL_RENDERER_MAP
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.library import TOOL_FORMATS, LibraryRenderer
from agentscope_tuner.chat.rendering import TEMPLATE_ERRORS, ChatRenderer
from agentscope_tuner.chat.template import TemplateRenderer
from agentscope_tuner.chat.time_limit import time_limit
from agentscope_tuner.errors import InputError

REASONING_PARSERS = ("deepseek_r1", "qwen3")
"""Names for the same form, thinking between `<think>` tags."""
TOOL_CALL_PARSERS = tuple(
    sorted({TOOL_FORMATS.get(name, name) for name in MODEL_RENDERER_MAP.values()})
)


def create_chat_renderer(
    tokenizer: PreTrainedTokenizerBase,
    *,
    model_type: str | None = None,
    tool_call_parser: str | None = "hermes",
    reasoning_parser: str | None = "deepseek_r1",
    enable_thinking: bool | None = None,
    eos_token_ids: Iterable[int] = (),
) -> ChatRenderer:
    """The renderer of a model.

    A model is rendered by `renderers` if it is one of the checkpoints that the library lists, or if
    it is of a family that the library knows (`model_type` of its config) and a probe conversation
    gives the same tokens as its chat template. Every other model is rendered by its template.

    Raises InputError for an unknown parser, a model without a chat template, and an
    `enable_thinking` that the model does not read.
    """
    _check_name("tool_call_parser", tool_call_parser, TOOL_CALL_PARSERS)
    _check_name("reasoning_parser", reasoning_parser, REASONING_PARSERS)
    if tokenizer.chat_template is None:
        raise InputError(
            f"The model {tokenizer.name_or_path!r} has no chat template: use an instruct model, or "
            "set chat_template in its tokenizer_config.json."
        )
    config = _library_config(tokenizer, model_type)
    options: dict[str, Any] = {
        "tool_call_parser": tool_call_parser,
        "thinking": reasoning_parser is not None,
        "eos_token_ids": tuple(eos_token_ids),
    }
    renderer: ChatRenderer
    if config is not None:
        renderer = LibraryRenderer(tokenizer, config, **options)
    elif tool_call_parser not in (None, "hermes"):
        raise InputError(
            f"tool_call_parser {tool_call_parser!r} does not fit the model "
            f"{tokenizer.name_or_path!r}: its calls are read as 'hermes' or left as text (None)."
        )
    else:
        try:
            renderer = TemplateRenderer(tokenizer, **options)
        except TEMPLATE_ERRORS as error:
            raise InputError(
                f"The chat template of the model {tokenizer.name_or_path!r} cannot be used: {error}"
            ) from error
    if enable_thinking is None:
        return renderer
    try:
        return renderer.variant({"enable_thinking": enable_thinking})
    except RequestError:
        if not enable_thinking:
            return renderer  # a model that cannot think does not
        raise InputError(
            f"enable_thinking=True has no effect on the model {tokenizer.name_or_path!r}: its chat "
            "template does not read it."
        ) from None


def _check_name(argument: str, name: str | None, known: tuple[str, ...]) -> None:
    if name is not None and name not in known:
        raise InputError(f"Unknown {argument} {name!r}: known are {', '.join(known)} and None.")


def _library_config(tokenizer: PreTrainedTokenizerBase, model_type: str | None) -> Any | None:
    if tokenizer.name_or_path in MODEL_RENDERER_MAP:
        return create_renderer(tokenizer).config
    if model_type in ("qwen3", "qwen3_moe"):
        candidate, kwargs = Qwen3RendererConfig(), {}
    elif model_type == "llama":
        # The template's date is today's; the renderer pins it, so that a run's prompts do not
        # change overnight.
        candidate = Llama3RendererConfig()
        kwargs = {"date_string": candidate.date_string}
    else:
        return None
    return candidate if _agrees(tokenizer, candidate, kwargs) else None


def _agrees(tokenizer: PreTrainedTokenizerBase, config: Any, kwargs: Mapping[str, Any]) -> bool:
    """Whether the library's renderer and the model's template give a probe the same tokens."""
    tool: Any = {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Add two numbers.",
            "parameters": {"type": "object", "properties": {"a": {"type": "number"}}},
        },
    }
    call = {
        "id": "call00001",
        "type": "function",
        "function": {"name": "add", "arguments": {"a": 1.5}},
    }
    conversation: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 1 + 2? "},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "3\n", "tool_call_id": "call00001"},
        {"role": "assistant", "content": "It is 3."},
        {"role": "user", "content": "Thanks!"},
    ]
    try:
        renderer = create_renderer(tokenizer, config)
        with time_limit():
            return all(
                renderer.render_ids(messages, tools=tools, add_generation_prompt=True)
                == tokenizer.apply_chat_template(
                    messages, tools=tools, add_generation_prompt=True, return_dict=False, **kwargs
                )
                for messages, tools in (
                    (conversation[:2], None),
                    (conversation[1:2], [tool]),
                    (conversation[:4], [tool]),
                    (conversation, [tool]),
                )
            )
    except TEMPLATE_ERRORS:  # the family's special tokens are not there, for one
        return False
