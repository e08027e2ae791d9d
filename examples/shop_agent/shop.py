"""The agent's tools, its prompt, and how an order is put: what tasks and demonstrations share."""

import re

from agentscope.message import TextBlock
from agentscope.tool import Toolkit, ToolResponse

SYSTEM_PROMPT = "Look up the price of each item, then calculate what the order costs."

ITEMS = "axe bell bolt brick broom bucket cable candle chair clock drill drum hammer hook "
ITEMS += "kettle ladder lamp lock mirror nail pan pipe pump rope saw screw shovel spoon "
ITEMS += "stool towel vase wheel"

_PRODUCTS = re.compile(r"\s*\d+\s*\*\s*\d+\s*(\+\s*\d+\s*\*\s*\d+\s*)*")


def question(order: dict[str, int]) -> str:
    """`order` has how many of each item; all are plurals."""
    return f"What do {' and '.join(f'{n} {item}s' for item, n in order.items())} cost?"


def sum_of_products(order: dict[str, int], prices: dict[str, int]) -> str:
    return " + ".join(f"{n} * {prices[item]}" for item, n in order.items())


def compute(expression: str) -> str:
    if not isinstance(expression, str) or not _PRODUCTS.fullmatch(expression):
        return "Error: write products with + between them."
    products = (part.split("*") for part in expression.split("+"))
    return str(sum(int(a) * int(b) for a, b in products))


def make_toolkit(prices: dict[str, int]) -> Toolkit:
    """Tools of a shop that has these prices, which differ from task to task."""

    def price(item: str) -> ToolResponse:
        """Look up what one item costs.

        Args:
            item (str):
                For example "shoe".
        """
        known = prices.get(item) if isinstance(item, str) else None
        return _say("Error: there is no such item." if known is None else str(known))

    def calculate(expression: str) -> ToolResponse:
        """Compute an expression.

        Args:
            expression (str):
                For example "2 * 3 + 4 * 5".
        """
        return _say(compute(expression))

    toolkit = Toolkit()
    toolkit.register_tool_function(price)
    toolkit.register_tool_function(calculate)
    return toolkit


def _say(text: str) -> ToolResponse:
    return ToolResponse(content=[TextBlock(type="text", text=text)])
