"""The agent's tool, its prompt, and how a question is put: what tasks and demonstrations share."""

import re

from agentscope.message import TextBlock
from agentscope.tool import Toolkit, ToolResponse

SYSTEM_PROMPT = "Use the calculator."

_EXPRESSION = re.compile(r"\s*(\d{1,9})\s*([-+*])\s*(\d{1,9})\s*")


def question(a: int, b: int) -> str:
    return f"What is {a} times {b}?"


def calculator(expression: str) -> ToolResponse:
    """Compute an expression.

    Args:
        expression (str):
            For example "2 * 3".
    """
    return ToolResponse(content=[TextBlock(type="text", text=_compute(expression))])


def make_toolkit() -> Toolkit:
    toolkit = Toolkit()
    toolkit.register_tool_function(calculator)
    return toolkit


def _compute(expression: str) -> str:
    parts = _EXPRESSION.fullmatch(expression) if isinstance(expression, str) else None
    if parts is None:
        return "Error: write two numbers with +, - or * between them."
    a, operator, b = int(parts[1]), parts[2], int(parts[3])
    return str({"+": a + b, "-": a - b, "*": a * b}[operator])
