"""BFCL's simulated file system: its questions, its functions as tools, and when one is done."""

import ast
import functools
import inspect
import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from agentscope.message import TextBlock
from agentscope.tool import Toolkit, ToolResponse

try:
    from bfcl_eval.eval_checker.multi_turn_eval.func_source_code.gorilla_file_system import (
        GorillaFileSystem,
    )
except ModuleNotFoundError as missing:
    raise SystemExit(
        "This program works on BFCL's data: pip install --no-deps bfcl-eval==2026.3.23"
    ) from missing

SYSTEM_PROMPT = "Call a function."
LONGEST_RESULT = 200
"""Characters of a result that the agent sees."""
FUNCTIONS = [
    name for name, _ in inspect.getmembers(GorillaFileSystem, inspect.isfunction) if name[0] != "_"
]


def questions() -> Iterator[dict]:
    """The turns of BFCL's conversations that one call answers, of which the user says every name.

    `start` is the file system at the beginning of the conversation, `before` the calls that are
    right up to the turn, `call` the one that is right then.
    """
    name = "BFCL_v4_multi_turn_base.json"
    for sample, right in zip(_lines(name), _lines(f"possible_answer/{name}"), strict=True):
        if "GorillaFileSystem" not in sample["initial_config"]:
            continue
        start = json.dumps(sample["initial_config"]["GorillaFileSystem"])
        before: list[str] = []
        for said, calls in zip(sample["question"], right["ground_truth"], strict=True):
            question, ours = said[-1]["content"], [call for call in calls if _is_ours(call)]
            if len(calls) == 1 and calls == ours and _is_said(calls[0], question):
                yield {
                    "conversation": sample["id"],
                    "question": question,
                    "start": start,
                    "before": list(before),
                    "call": calls[0],
                }
            before += ours


def file_system(task: dict) -> GorillaFileSystem:
    """The file system as the user has it who asks."""
    system = GorillaFileSystem()
    system._load_scenario(json.loads(task["start"]))
    for call in task["before"]:
        run(system, call)
    return system


def run(system: GorillaFileSystem, call: str) -> Any:
    """The result of a call as BFCL writes it, `cd(folder='a')`."""
    name, arguments = read(call)
    return getattr(system, name)(**arguments)


def read(call: str) -> tuple[str, dict[str, Any]]:
    """The function that a call is for, and its arguments by name."""
    written: Any = ast.parse(call, mode="eval").body
    name = written.func.id
    by_place = [ast.literal_eval(value) for value in written.args]
    by_name = {keyword.arg: ast.literal_eval(keyword.value) for keyword in written.keywords}
    if not hasattr(GorillaFileSystem, name):
        return name, by_name
    signature = inspect.signature(getattr(GorillaFileSystem, name))
    bound = signature.bind(None, *by_place, **by_name).arguments
    return name, {key: value for key, value in bound.items() if key != "self"}


def make_toolkit(system: GorillaFileSystem, names: list[str], results: list) -> Toolkit:
    """Functions of the file system, which keep what they return in `results`."""
    toolkit = Toolkit()
    for name in names:
        toolkit.register_tool_function(_tool(getattr(system, name), results))
    return toolkit


def is_done(task: dict, system: GorillaFileSystem, results: list) -> bool:
    """BFCL's own rule: the same files as after the right call, and its result among the results."""
    expected = file_system(task)
    result = run(expected, task["call"])
    return bool(system == expected) and result in results


def shown(result: Any) -> str:
    """What the agent sees of a result."""
    return "Done." if result is None else json.dumps(result)[:LONGEST_RESULT]


def _tool(function: Any, results: list) -> Any:
    @functools.wraps(function)
    def call(**arguments: Any) -> ToolResponse:
        try:
            result = function(**arguments)
        except Exception as error:  # BFCL's functions raise at arguments of another type
            result = {"error": str(error)}
        results.append(result)
        return ToolResponse(content=[TextBlock(type="text", text=shown(result))])

    call.__doc__ = (inspect.getdoc(function) or "").partition("\n")[0]  # half of the tokens
    return call


def _is_ours(call: str) -> bool:
    return read(call)[0] in FUNCTIONS


def _is_said(call: str, question: str) -> bool:
    texts = [value for value in read(call)[1].values() if isinstance(value, str)]
    return all(text in question for text in texts)


def _lines(name: str) -> Iterator[dict]:
    text = (files("bfcl_eval") / "data" / name).read_text(encoding="utf-8")
    return map(json.loads, text.splitlines())
