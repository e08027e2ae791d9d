"""What one request can make of work is bounded, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_parts import Client, saying, serve
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from agentscope_tuner.chat import time_limit
from agentscope_tuner.chat.detection import create_chat_renderer
from agentscope_tuner.chat.library import LibraryRenderer
from agentscope_tuner.chat.limits import MAX_BODY, MAX_ITEMS, MAX_SCHEMA
from agentscope_tuner.chat.streaming import DeltaReader
from agentscope_tuner.chat.template import TemplateRenderer
from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.torch_sampler import TorchSampler

USER = {"role": "user", "content": "Hi."}


def schema(**fields: Any) -> dict[str, Any]:
    """A response format of one required field, or of a whole schema."""
    whole = fields.pop("whole", None) or {
        "type": "object",
        "properties": {"a": fields},
        "required": ["a"],
    }
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": whole}}


HUGE_STEPS = schema(type="number", multipleOf=1e9 + 7, minimum=3)
ENDLESS = schema(whole={"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})
CROSSED = schema(type="string", allOf=[{"pattern": f".*{chr(97 + i)}.*"} for i in range(16)])


@pytest.fixture(scope="module")
def sampler(tiny_model: Path) -> Iterator[TorchSampler]:
    """The real sampler of a tiny random model."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    sampler = TorchSampler(
        model.config, model.state_dict(), tokenizer, dtype=torch.float32, cache_bytes=1 << 22
    )
    yield sampler
    asyncio.run(sampler.close())


@pytest.mark.parametrize(
    ("form", "stream"),
    [(HUGE_STEPS, False), (ENDLESS, False), (ENDLESS, True), (CROSSED, False)],
)
async def test_a_schema_that_cannot_be_followed_fails_its_request_alone(
    form: dict[str, Any], stream: bool, smol: PreTrainedTokenizerBase, sampler: TorchSampler
) -> None:
    service = serve(smol, sampler)
    session = service.open("r1", seed=1)
    client = Client(service)
    beside = asyncio.create_task(client.ask("beside", max_tokens=40))
    response = await client.ask("?", response_format=form, stream=stream)
    if stream and response.status_code == 200:
        assert '"type": "invalid_request_error"' in response.text
        assert "cannot be followed" in response.text
    else:
        assert response.status_code == 400, response.text
        assert "cannot be followed" in response.json()["error"]["message"]
    assert (await beside).status_code == 200
    assert (await client.ask("after", max_tokens=2)).status_code == 200
    assert session.fault is None
    assert len(session.trajectory.calls) == 2


async def test_limits_are_refused_by_name(smol: PreTrainedTokenizerBase) -> None:
    service = serve(smol, saying(smol, [], max_model_len=100_000))
    session = service.open("r1")
    client = Client(service)
    long = {"type": "object", "description": "x" * MAX_SCHEMA}
    tool = {"type": "function", "function": {"name": "t", "parameters": long}}
    for fields, named in (
        ({"stop": "x" * 257}, "stop"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stop": ["x"] * (MAX_ITEMS + 1)}, str(MAX_ITEMS)),
        ({"response_format": schema(whole=long)}, "response_format"),
        ({"tools": [tool], "tool_choice": "required"}, "tools"),
        ({"chat_template_kwargs": {"a": "x" * 5000}}, "chat_template_kwargs"),
        ({"model": "m" * 10_000}, "The model"),
    ):
        response = await client.ask("?", **fields)
        assert response.status_code in (400, 404), response.text
        assert named in response.json()["error"]["message"]
        assert len(response.text) < 2000
    response = await client.ask("x" * MAX_BODY)
    assert response.status_code == 413
    assert session.trajectory.segments == []


async def test_commas_in_text_are_no_values(smol: PreTrainedTokenizerBase) -> None:
    service = serve(smol, saying(smol, ["ok"], max_model_len=100_000))
    service.open("r1")
    await Client(service).message('"[{' + "," * (MAX_ITEMS + 1))


async def test_a_prompt_that_cannot_fit_is_not_tokenised(
    smol: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TemplateRenderer, "render", lambda *_: pytest.fail("it was rendered"))
    service = serve(smol, saying(smol, [], max_model_len=100))
    session = service.open("r1")
    response = await Client(service).ask("word " * 10_000)
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert session.trajectory.overflows == 1


async def test_prompts_are_cached_by_bytes_and_refused_ones_not_at_all(
    smol: PreTrainedTokenizerBase,
) -> None:
    service = serve(smol, saying(smol, ["ok"] * 10, max_model_len=60), max_tokens=2)
    prompts = service.policy.prompts
    before = prompts.bytes
    service.open("r1")
    client = Client(service)
    await client.message("a prompt that nobody asked before")
    after = prompts.bytes
    assert 0 < after - before < 60 * 4
    assert (await client.ask("too many words " * 30)).status_code == 400
    assert prompts.bytes == after


async def test_a_long_prompt_is_rendered_beside_the_event_loop(
    smol: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    render = TemplateRenderer.render

    def watched(*args: Any) -> list[int]:
        threads.append(threading.current_thread().name)
        return render(*args)

    monkeypatch.setattr(TemplateRenderer, "render", watched)
    service = serve(smol, saying(smol, ["ok"], max_model_len=50_000))
    service.open("r1")
    await Client(service).message("a long text " * 4000)
    assert threads == ["chat"]


async def test_a_parser_that_fails_leaves_the_answer_as_text(
    qwen: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a parser of somebody else")

    monkeypatch.setattr(LibraryRenderer, "parse", broken)
    service = serve(qwen, saying(qwen, ["<think>\nHm\n</think>\n\nYes."] * 2))
    session = service.open("r1")
    message = await Client(service).message("?")
    assert message["content"] == "<think>\nHm\n</think>\n\nYes."
    assert len(session.trajectory.calls) == 1
    assert session.fault is None
    assert "parser failed" in caplog.text


@pytest.mark.parametrize("part", ["push", "finish"])
async def test_a_stream_that_cannot_be_told_ends_that_call_alone(
    part: str, smol: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve(smol, saying(smol, ["one", "two"]))
    session = service.open("r1")
    with monkeypatch.context() as patch:
        patch.setattr(DeltaReader, part, lambda *_: {}["what it is not prepared for"])
        response = await Client(service).ask("?", stream=True)
    assert "server_error" in response.text
    assert (session.trajectory.calls, session.fault) == ([], None)
    assert (await Client(service).message("?"))["content"] == "two"


NEVER = (
    "{%- for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    "{% set x = a %}{% endfor %}{% endfor %}{% endfor %}"
)


def test_a_chat_template_that_never_ends_is_stopped(
    smol_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_limit, "LIMIT_S", 0.2)
    tokenizer = AutoTokenizer.from_pretrained(smol_directory)
    tokenizer.chat_template = NEVER
    with pytest.raises(InputError, match=r"was not done after 0\.2 s"):
        create_chat_renderer(tokenizer)


async def test_a_conversation_that_a_chat_template_never_ends_on_is_refused(
    smol_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smol_directory)
    trap = f"{{% if messages[-1].content == 'trap' %}}{NEVER}{{% endif %}}"
    tokenizer.chat_template = trap + tokenizer.chat_template
    service = serve(tokenizer, saying(tokenizer, ["ok"]))
    service.open("r1")
    monkeypatch.setattr(time_limit, "LIMIT_S", 0.2)
    response = await Client(service).ask("trap")
    assert response.status_code == 400
    assert "was not done after" in response.json()["error"]["message"]
    assert (await Client(service).message("no trap"))["content"] == "ok"
