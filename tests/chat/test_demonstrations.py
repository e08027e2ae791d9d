"""Written conversations become the trajectories that rollouts saying them would leave."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chat_parts import ADD, Client, saying, serve
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat.demonstration import demonstrate
from agentscope_tuner.chat.rendering import ChatRenderer
from agentscope_tuner.errors import InputError

QUESTION = {"role": "user", "content": "What is 2 + 3?"}
CALL = {
    "id": "call00001",
    "type": "function",
    "function": {"name": "add", "arguments": '{"a": 2, "b": 3}'},
}
CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    QUESTION,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "5", "tool_call_id": "call00001"},
    {"role": "assistant", "content": "It is 5."},
    {"role": "user", "content": "Thanks!"},
    {"role": "assistant", "content": "You are welcome."},
]
SAMPLE = {"messages": CONVERSATION, "tools": [ADD], "answer": "5"}


@pytest.fixture(params=["smol", "qwen"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    """Of a model that is rendered by its template, and of one that `renderers` knows."""
    return request.getfixturevalue(request.param)


def renderer_of(tokenizer: PreTrainedTokenizerBase, **options: Any) -> ChatRenderer:
    return serve(tokenizer, saying(tokenizer, []), **options).policy.renderer


async def test_a_rollout_that_says_the_same_leaves_the_same_tokens(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    renderer = renderer_of(tokenizer)
    demonstrated = demonstrate(renderer, SAMPLE, 4096)
    said = iter([list(s.token_ids) for s in demonstrated.sampled_segments()])
    sampler = saying(tokenizer, [])
    sampler.say = lambda prompt_ids, params: next(said)
    service = serve(tokenizer, sampler)
    session = service.open("r1")
    client = Client(service)
    history: list[dict[str, Any]] = []
    for message in CONVERSATION:
        if message["role"] != "assistant":
            history.append(
                {**message, "tool_call_id": history[-1]["tool_calls"][0]["id"]}
                if message["role"] == "tool"
                else message
            )
            continue
        answer = await client.message(history, tools=[ADD])
        assert (answer["content"] or "") == (message["content"] or "")
        history.append({"role": "assistant", **{k: v for k, v in answer.items() if v is not None}})
    rolled_out = session.trajectory
    assert [s.token_ids for s in demonstrated.segments] == [
        s.token_ids for s in rolled_out.segments
    ]
    assert [s.parent for s in demonstrated.segments] == [s.parent for s in rolled_out.segments]
    calls = [call.response.get("tool_calls") for call in rolled_out.calls]
    assert [json.loads(c[0]["function"]["arguments"]) for c in calls if c] == [{"a": 2, "b": 3}]


def test_prompts_are_what_the_endpoint_renders(tokenizer: PreTrainedTokenizerBase) -> None:
    renderer = renderer_of(tokenizer)
    trajectory = demonstrate(renderer, SAMPLE, 4096)
    first = trajectory.segments[0].token_ids
    assert first == renderer.render(trajectory.calls[0].messages, [ADD])


def test_only_what_the_assistant_says_is_learnt_and_its_stop_token_with_it(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    renderer = renderer_of(tokenizer)
    segments = list(demonstrate(renderer, SAMPLE, 4096).sampled_segments())
    assert len(segments) == 3
    assert all(segment.token_ids[-1] in renderer.stop_token_ids for segment in segments)
    texts = [tokenizer.decode(segment.token_ids[:-1]) for segment in segments]
    call, *answers = texts
    assert '{"name": "add", "arguments": {"a": 2, "b": 3}}' in call
    assert [text.rpartition("\n")[2] for text in answers] == ["It is 5.", "You are welcome."]


def test_fields_that_other_samples_have_are_absent(smol: PreTrainedTokenizerBase) -> None:
    renderer = renderer_of(smol)
    padded = [
        {"content": None, "tool_calls": None, "tool_call_id": None, **m} for m in CONVERSATION
    ]
    plain, wide = (
        demonstrate(renderer, {**SAMPLE, "messages": messages}, 4096)
        for messages in (CONVERSATION, padded)
    )
    assert plain.segments == wide.segments


def test_a_prompt_and_its_response_are_a_conversation(smol: PreTrainedTokenizerBase) -> None:
    renderer = renderer_of(smol)
    said = {"role": "assistant", "content": "It is 5."}
    written = demonstrate(renderer, {"messages": [QUESTION, said]}, 4096)
    for prompt in (QUESTION["content"], [QUESTION]):
        told = demonstrate(renderer, {"prompt": prompt, "response": "It is 5."}, 4096)
        assert told.token_ids(told.leaves()[0]) == written.token_ids(written.leaves()[0])
    with pytest.raises(InputError, match="both messages and a response: say which"):
        demonstrate(renderer, {"messages": [QUESTION, said], "response": "It is 5."}, 4096)
    with pytest.raises(InputError, match="a response needs a prompt"):
        demonstrate(renderer, {"response": "It is 5."}, 4096)


def test_thinking_is_learnt_where_the_template_writes_it(qwen: PreTrainedTokenizerBase) -> None:
    answer = {"role": "assistant", "content": "5", "reasoning_content": "2 + 3 is 5."}
    trajectory = demonstrate(renderer_of(qwen), {"messages": [QUESTION, answer]}, 4096)
    [segment] = trajectory.sampled_segments()
    assert "<think>\n2 + 3 is 5.\n</think>" in qwen.decode(segment.token_ids)


def test_thinking_that_the_template_drops_is_refused(smol: PreTrainedTokenizerBase) -> None:
    answer = {"role": "assistant", "content": "5", "reasoning_content": "2 + 3 is 5."}
    with pytest.raises(InputError, match="its thinking is dropped"):
        demonstrate(renderer_of(smol), {"messages": [QUESTION, answer]}, 4096)


@pytest.mark.parametrize(
    ("sample", "why"),
    [
        ({"question": "?"}, "messages: field required"),
        ({"messages": []}, "messages: list should have at least 1 item"),
        ({"messages": "Hi."}, "messages: input should be a valid list"),
        ({"messages": [{"role": "robot", "content": "Hi."}]}, r"messages.0.role: input should be"),
        ({"messages": [QUESTION]}, "no assistant message"),
        ({"messages": CONVERSATION[2:]}, "begins with an assistant message"),
        ({"messages": CONVERSATION, "tools": [{"name": "add"}]}, "tools.0.type: field required"),
    ],
)
def test_what_is_no_conversation_is_refused(
    smol: PreTrainedTokenizerBase, sample: dict[str, Any], why: str
) -> None:
    with pytest.raises(InputError, match=why):
        demonstrate(renderer_of(smol), sample, 4096)


def test_a_conversation_that_is_too_long_is_refused(smol: PreTrainedTokenizerBase) -> None:
    with pytest.raises(InputError, match=r"it has \d+ tokens, and max_model_len is 64"):
        demonstrate(renderer_of(smol), SAMPLE, 64)


def test_tools_that_cannot_be_written_are_refused(smol: PreTrainedTokenizerBase) -> None:
    with pytest.raises(InputError, match="its tools cannot be written"):
        demonstrate(renderer_of(smol, tool_call_parser=None), SAMPLE, 4096)
