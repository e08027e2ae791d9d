"""Random conversations: the trajectory says exactly what the sampler saw and said."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from chat_parts import ADD, Client, ScriptedSampler, saying, serve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.trajectory import Trajectory

ANSWERS = [
    "It is 3.",
    "  spaced  ",
    "déjà vu 你好 🎉",
    '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>',
    'Let me see.\n<tool_call>\n{"name":"add","arguments":{"b":2,   "a":1}}\n</tool_call>',
    '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>\n'
    '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>',
    "<tool_call>\n{'name': broken}\n</tool_call>",
    '<tool_call>\n{"name": "add", "argum',
    "<think>\nhm\n</think>\n\nSure.",
    '<think>\nI add.\n</think>\n\n<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>',
    "<think>\nnever ends",
    "",
]


def assert_faithful(trajectory: Trajectory, said: list[tuple[list[int], list[int]]]) -> None:
    """Every call's branch is prompt + sampled ids; every leaf but the first has a cause."""
    walked = [trajectory.token_ids(call.segment) for call in trajectory.calls]
    assert sorted(walked) == sorted(prompt + sampled for prompt, sampled in said)
    for call in trajectory.calls:
        assert trajectory.segments[call.segment].sampled is not None
    assert sum(segment.sampled is not None for segment in trajectory.segments) == len(said)
    causes = [call.branch for call in trajectory.calls if call.branch is not None]
    assert len(trajectory.leaves()) == (1 + len(causes) if said else 0)


def as_agents_send_it(message: dict[str, Any], how: str) -> dict[str, Any] | None:
    """An answer in the next request's history, the way different agents put it there."""
    if how == "dropped":
        return None
    message = json.loads(json.dumps(message))
    if how == "verbatim":
        return message
    message.pop("reasoning_content", None)
    message["name"] = "Friday"
    for call in message.get("tool_calls", ()):
        arguments = json.loads(call["function"]["arguments"])
        call["function"]["arguments"] = json.dumps(arguments, indent=1)
    if message["content"]:
        text = "something else" if how == "rewritten" else message["content"]
        message["content"] = [{"type": "text", "text": text}]
    return message


class Dialogue:
    """One conversation of an agent, kept the way agents keep it."""

    def __init__(self, system: str | None) -> None:
        self.history: list[dict[str, Any]] = []
        if system is not None:
            self.history.append({"role": "system", "content": system})

    async def turn(self, client: Client, question: str, how: str, tools: bool) -> None:
        last = self.history[-1] if self.history else {}
        for call in last.get("tool_calls") or ():
            result = {"role": "tool", "content": question, "tool_call_id": call["id"]}
            self.history.append(result)
        if not last.get("tool_calls"):
            self.history.append({"role": "user", "content": question})
        fields = {"tools": [ADD]} if tools else {}
        answer = as_agents_send_it(await client.message(self.history, **fields), how)
        if answer is not None:
            self.history.append(answer)


TURNS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["Hi.", "1 + 2?", "And now?"]),
        st.sampled_from(["verbatim", "formatted", "formatted", "rewritten", "dropped"]),
        st.sampled_from([True, True, True, False]),
        st.integers(0, len(ANSWERS) - 1),
    ),
    min_size=1,
    max_size=9,
)


@pytest.mark.parametrize("model", ["smol", "qwen"])
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(turns=TURNS, systems=st.lists(st.sampled_from([None, "Be brief.", "Add."]), min_size=3))
def test_every_branch_is_prompt_and_sampled_ids_of_its_calls(
    model: str, turns: list[Any], systems: list[Any], request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(model)

    async def run() -> None:
        sampler = saying(tokenizer, [ANSWERS[turn[-1]] for turn in turns])
        service = serve(tokenizer, sampler)
        session = service.open("r1")
        dialogues = [Dialogue(system) for system in systems[:3]]
        for which, question, how, tools, _ in turns:
            await dialogues[which].turn(Client(service), question, how, tools)
        assert session.fault is None
        assert_faithful(session.trajectory, sampler.said)
        for call, (prompt_ids, _) in zip(session.trajectory.calls, sampler.said, strict=True):
            prompt = tokenizer.decode(prompt_ids)
            assert all(message["content"] in prompt for message in call.messages)
        session.close()

    asyncio.run(run())


@pytest.mark.parametrize("model", ["smol", "qwen"])
async def test_formatting_of_the_history_changes_no_token(
    model: str, request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(model)
    answers = [
        'Hm. <tool_call>\n{"name":"add",   "arguments":{"b":2, "a":1}}</tool_call>',
        '<tool_call>\n{"name": "add", "arguments": {"a": 3, "b": 3}}\n</tool_call>',
        "It is 6.",
    ]
    sampler = saying(tokenizer, answers)
    service = serve(tokenizer, sampler)
    session = service.open("r1")
    dialogue = Dialogue("Add.")
    for question in ("1 + 2 + 3?", "3", "6"):
        await dialogue.turn(Client(service), question, "formatted", True)

    trajectory = session.trajectory
    assert [call.branch for call in trajectory.calls] == [None, None, None]
    assert len(trajectory.leaves()) == 1
    walk = tokenizer.decode(trajectory.token_ids(trajectory.leaves()[0]))
    assert all(answer in walk for answer in answers)
    assert_faithful(trajectory, sampler.said)


async def test_thinking_stays_within_a_tool_cycle_and_goes_with_the_next_question(
    qwen: PreTrainedTokenizerBase,
) -> None:
    sampler = saying(
        qwen,
        [
            "<think>\nI add.\n</think>\n\n"
            '<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>',
            "<think>\nDone.\n</think>\n\nIt is 3.",
            "Bye.",
        ],
    )
    service = serve(qwen, sampler)
    session = service.open("r1")
    dialogue = Dialogue(None)
    for question in ("1 + 2?", "3", "Thanks!"):
        await dialogue.turn(Client(service), question, "formatted", True)

    assert [call.branch for call in session.trajectory.calls] == [None, None, "thinking_dropped"]
    assert session.trajectory.calls[0].response["reasoning_content"] == "I add."
    within, after = (qwen.decode(sampler.said[at][0]) for at in (1, 2))
    assert "I add." in within
    assert "I add." not in after
    assert "It is 3." in after


async def ask_in_turn(
    tokenizer: PreTrainedTokenizerBase, *requests: tuple[list[dict[str, Any]], dict[str, Any]]
) -> list[str | None]:
    """The causes of calls that are made one after the other; the sampler answers 0, 1, 2, ..."""
    sampler = saying(tokenizer, map(str, range(100)))
    service = serve(tokenizer, sampler)
    session = service.open("r1")
    for messages, fields in requests:
        await Client(service).message(messages, **fields)
    assert_faithful(session.trajectory, sampler.said)
    return [call.branch for call in session.trajectory.calls]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


async def test_each_new_branch_says_its_cause(smol: PreTrainedTokenizerBase) -> None:
    tools = {"tools": [ADD]}
    first, second = user("a"), user("b")
    follow = [first, assistant("0"), second]
    assert await ask_in_turn(smol, ([first], {}), ([second], {})) == [None, "new_conversation"]
    assert await ask_in_turn(smol, ([first], {}), ([first], {})) == [None, "resampled"]
    assert await ask_in_turn(smol, ([first], {}), (follow, {})) == [None, None]
    assert await ask_in_turn(smol, ([first], tools), (follow, {})) == [None, "tools_changed"]
    assert await ask_in_turn(smol, ([first], tools), ([first], {})) == [None, "tools_changed"]
    rewritten = [first, assistant("9"), second]
    assert await ask_in_turn(smol, ([first], {}), (rewritten, {})) == [None, "history_changed"]
    fork = [first, assistant("0"), user("c")]
    assert await ask_in_turn(smol, ([first], {}), (follow, {}), (fork, {})) == [
        None,
        None,
        "forked",
    ]


async def test_a_changed_template_argument_begins_a_branch(qwen: PreTrainedTokenizerBase) -> None:
    quiet = {"chat_template_kwargs": {"enable_thinking": False}}
    follow = [user("a"), assistant("0"), user("b")]
    assert await ask_in_turn(qwen, ([user("a")], {}), (follow, quiet)) == [None, "settings_changed"]
    assert await ask_in_turn(qwen, ([user("a")], quiet), (follow, quiet)) == [None, None]


async def test_parallel_twins_each_go_on_from_their_own_answer(
    smol: PreTrainedTokenizerBase,
) -> None:
    """Two agents ask the same and hear the same; their next turns part the tokens of both."""
    sampler = saying(smol, ["yes", "yes", "one", "two"])
    service = serve(smol, sampler)
    session = service.open("r1")
    client = Client(service)
    await asyncio.gather(client.message("ok?"), client.message("ok?"))
    history = [user("ok?"), assistant("yes")]
    await asyncio.gather(
        client.message([*history, user("first")]), client.message([*history, user("second")])
    )
    trajectory = session.trajectory
    assert [call.branch for call in trajectory.calls] == [None, "resampled", None, None]
    assert len(trajectory.leaves()) == 2
    assert_faithful(trajectory, sampler.said)


async def test_n_answers_share_one_prompt(smol: PreTrainedTokenizerBase) -> None:
    sampler = saying(smol, ["a", "b", "c"])
    service = serve(smol, sampler)
    session = service.open("r1", seed=5)
    response = await Client(service).ask("?", n=3)
    assert [one["message"]["content"] for one in response.json()["choices"]] == ["a", "b", "c"]
    assert len(session.trajectory.segments) == 4
    assert [call.branch for call in session.trajectory.calls] == [None, "resampled", "resampled"]
    seeds = [params.seed for _, params in sampler.asked]
    assert len(set(seeds)) == 3
    assert response.json()["usage"]["completion_tokens"] == 6


async def test_recorded_samples_say_how_they_were_drawn(smol: PreTrainedTokenizerBase) -> None:
    service = serve(smol, saying(smol, ["hello"], version_changes=[(1, 8)]))
    session = service.open("r1", temperature=0.5)
    await Client(service).message("?")
    sampled = session.trajectory.segments[1].sampled
    assert sampled is not None
    assert sampled.logprobs == [-0.125, -0.25]
    assert (sampled.model, sampled.version, sampled.temperature) == ("policy", 7, 0.5)
    assert sampled.token_versions() == [7, 8]


async def test_a_truncated_turn_is_closed_by_the_next_prompt(
    smol: PreTrainedTokenizerBase,
) -> None:
    sampler = saying(smol, ["one two three four five six", "ok"])
    service = serve(smol, sampler)
    session = service.open("r1")
    answer = await Client(service).message("count", max_tokens=3)
    await Client(service).message([user("count"), assistant(answer["content"]), user("more")])
    first, second = session.trajectory.calls
    assert (first.finish_reason, second.branch) == ("length", None)
    assert session.trajectory.truncated
    added = session.trajectory.segments[2]
    assert smol.decode(added.token_ids).startswith("<|im_end|>\n<|im_start|>user\nmore")


async def test_seeds_depend_on_the_rollout_and_the_number_of_the_call(
    smol: PreTrainedTokenizerBase,
) -> None:
    async def seeds(rollout_seed: int | None, **fields: Any) -> list[int | None]:
        sampler = ScriptedSampler(lambda ids, params: [smol.eos_token_id])
        service = serve(smol, sampler)
        service.open("r1", seed=rollout_seed)
        for _ in range(2):
            await Client(service).message("?", **fields)
        return [params.seed for _, params in sampler.asked]

    assert await seeds(1) == await seeds(1)
    assert len({*await seeds(1), *await seeds(2)}) == 4
    assert await seeds(None) == [None, None]
    first, second = await seeds(1, seed=3)
    assert first == second
