"""How a model's renderer is found, and what tools and parsers do to prompts and answers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from chat_parts import ADD, Client, saying, serve
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat.detection import create_chat_renderer
from agentscope_tuner.chat.library import LibraryRenderer
from agentscope_tuner.chat.parsing import ParsedMessage
from agentscope_tuner.chat.template import TemplateRenderer
from agentscope_tuner.errors import InputError

USER = {"role": "user", "content": "Hi."}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
READ = [("add", '{"a": 1}')]


def with_template(tokenizer: PreTrainedTokenizerBase, template: str) -> PreTrainedTokenizerBase:
    """The tokenizer with another chat template."""
    changed = copy.deepcopy(tokenizer)
    changed.chat_template = template
    return changed


def test_a_known_family_is_rendered_by_hand_if_its_template_agrees(
    qwen: PreTrainedTokenizerBase, smol: PreTrainedTokenizerBase
) -> None:
    assert isinstance(create_chat_renderer(qwen, model_type="qwen3"), LibraryRenderer)
    assert isinstance(create_chat_renderer(qwen), TemplateRenderer)
    assert isinstance(create_chat_renderer(smol, model_type="llama"), TemplateRenderer)
    other = with_template(qwen, qwen.chat_template.replace("# Tools", "# Your tools"))
    assert isinstance(create_chat_renderer(other, model_type="qwen3"), TemplateRenderer)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"tool_call_parser": "nope"}, "hermes"),
        ({"reasoning_parser": "nope"}, "deepseek_r1"),
        ({"tool_call_parser": "llama3_json"}, "llama3_json"),
        ({"enable_thinking": True}, "enable_thinking"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(
    options: dict[str, Any], named: str, smol: PreTrainedTokenizerBase
) -> None:
    with pytest.raises(InputError, match=named):
        create_chat_renderer(smol, **options)


def test_a_model_without_a_chat_template_is_refused(smol: PreTrainedTokenizerBase) -> None:
    bare = copy.deepcopy(smol)
    bare.chat_template = None
    with pytest.raises(InputError, match="chat template"):
        create_chat_renderer(bare)


def test_enable_thinking_takes_effect(
    qwen: PreTrainedTokenizerBase, smol: PreTrainedTokenizerBase
) -> None:
    def end(enable_thinking: bool | None, model_type: str | None) -> str:
        renderer = create_chat_renderer(
            qwen, model_type=model_type, enable_thinking=enable_thinking
        )
        return qwen.decode(renderer.render([USER], None)).rpartition("assistant\n")[2]

    for model_type in ("qwen3", None):
        assert end(None, model_type) == end(True, model_type) == ""
        assert end(False, model_type) == "<think>\n\n</think>\n\n"
    create_chat_renderer(smol, enable_thinking=False)  # it does not think anyway


def test_a_template_that_ignores_tools_gets_them_in_the_system_prompt(
    smol: PreTrainedTokenizerBase,
) -> None:
    renderer = create_chat_renderer(smol)
    system = {"role": "system", "content": "Be brief."}
    prompt = smol.decode(renderer.render([system, USER], [ADD]))
    assert prompt.startswith("<|im_start|>system\nBe brief.\n\n# Tools\n")
    assert '"name": "add"' in prompt
    assert smol.decode(renderer.render([USER], [ADD])).startswith("<|im_start|>system\n# Tools\n")
    assert "# Tools" not in smol.decode(renderer.render([USER], None))


def test_the_fallback_is_written_as_qwen_writes_it(
    qwen: PreTrainedTokenizerBase, smol: PreTrainedTokenizerBase
) -> None:
    """The words are those of Qwen's template, so that models know them."""
    plain = with_template(qwen, smol.chat_template)
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    conversation = [
        {"role": "system", "content": "Be brief."},
        USER,
        {"role": "assistant", "content": "Well.", "tool_calls": [call, call]},
        {"role": "tool", "content": "3", "tool_call_id": "c1"},
        {"role": "tool", "content": "4", "tool_call_id": "c1"},
    ]
    texts = [
        tokenizer.decode(create_chat_renderer(tokenizer).render(conversation, [ADD]))
        for tokenizer in (plain, qwen)
    ]
    assert texts[0] == texts[1]


async def test_tools_that_nobody_would_write_or_read_are_refused(
    smol: PreTrainedTokenizerBase,
) -> None:
    service = serve(smol, saying(smol, []), tool_call_parser=None)
    service.open("r1")
    for messages, fields in (
        ([USER], {"tools": [ADD]}),
        ([USER, {"role": "tool", "content": "3", "tool_call_id": "c1"}], {}),
    ):
        response = await Client(service).ask(messages, **fields)
        assert response.status_code == 400
        assert "tool_call_parser" in response.json()["error"]["message"]


def parse(
    tokenizer: PreTrainedTokenizerBase, text: str, tools: bool = True, **options: Any
) -> ParsedMessage:
    model_type = "qwen3" if "<think>" in tokenizer.get_vocab() else "llama"
    renderer = create_chat_renderer(tokenizer, model_type=model_type, **options)
    prompt_ids = renderer.render([USER], None)
    ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
    return renderer.parse(ids, prompt_ids, tools=tools)


@pytest.mark.parametrize("model", ["smol", "qwen"])
def test_answers_are_read_as_the_parsers_say(model: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(model)
    both = f"<think>\nHm.\n</think>\n\nWell.\n{CALL}"
    assert parse(tokenizer, both) == ParsedMessage("Well.", "Hm.", READ)
    assert parse(tokenizer, both, tools=False) == ParsedMessage(f"Well.\n{CALL}", "Hm.")
    assert parse(tokenizer, both, tool_call_parser=None) == ParsedMessage(f"Well.\n{CALL}", "Hm.")
    untouched = f"<think>\nHm.\n</think>\n\nWell.\n{CALL}"
    assert parse(tokenizer, both, tools=False, reasoning_parser=None) == ParsedMessage(untouched)
    assert parse(tokenizer, both, reasoning_parser=None) == ParsedMessage(
        "<think>\nHm.\n</think>\n\nWell.", None, READ
    )
    assert parse(tokenizer, f"{CALL}\n{CALL}") == ParsedMessage("", None, READ * 2)
    assert parse(tokenizer, "<think>\nHm") == ParsedMessage("", "Hm")


@pytest.mark.parametrize("model", ["smol", "qwen"])
@pytest.mark.parametrize(
    "block",
    [
        "<tool_call>\n{'name': 'add'}\n</tool_call>",
        '<tool_call>\n{"name": "add", "arguments": [1]}\n</tool_call>',
        '<tool_call>\n{"arguments": {}}\n</tool_call>',
        '<tool_call>\n{"name": "add", "arguments": {"a": NaN}}\n</tool_call>',
        '<tool_call>\n{"name": "add", "arguments": {"a": "\\ud800"}}\n</tool_call>',
        "<tool_call>\n" + "[" * 5000 + "\n</tool_call>",
        '<tool_call>\n{"name": "add", "arguments": {"a": 1',
    ],
)
def test_what_is_no_well_formed_call_stays_in_the_content(
    model: str, block: str, request: pytest.FixtureRequest
) -> None:
    message = parse(request.getfixturevalue(model), f"Well. {block}")
    assert message.tool_calls == []
    assert message.content.startswith("Well.")
    assert "<tool_call>" in message.content


def test_arguments_given_as_json_text_are_read_once(smol: PreTrainedTokenizerBase) -> None:
    text = '<tool_call>\n{"name": "add", "arguments": "{\\"a\\": 1}"}\n</tool_call>'
    assert parse(smol, text).tool_calls == READ


def test_a_template_that_rewrites_the_past_is_not_extended(smol: PreTrainedTokenizerBase) -> None:
    """It numbers the messages that are left: nothing that was rendered stays."""
    counting = with_template(
        smol, "{{ messages | length }}" + smol.chat_template.replace("{% if loop.first", "{% if 0")
    )
    renderer = create_chat_renderer(counting)
    history = [USER, {"role": "assistant", "content": "Yes."}]
    prompt_ids = renderer.render([USER], None)
    answer = [*smol.encode("Yes."), smol.eos_token_id]
    assert renderer.extend(prompt_ids, answer, history, [USER], None) is None


def test_sampled_tokens_stay_however_they_would_be_tokenised_again(
    smol: PreTrainedTokenizerBase,
) -> None:
    renderer = create_chat_renderer(smol)
    letters = [token for letter in "Yes." for token in smol.encode(letter)]
    assert letters != smol.encode("Yes.")
    history = [USER, {"role": "assistant", "content": "Yes."}]
    prompt_ids = renderer.render([USER], None)
    answer = [*letters, smol.eos_token_id]
    extended = renderer.extend(prompt_ids, answer, history, [USER], None)
    assert extended is not None
    assert extended[: len(prompt_ids) + len(answer)] == prompt_ids + answer
    assert smol.decode(extended) == smol.decode(renderer.render([*history, USER], None))
