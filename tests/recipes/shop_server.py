"""An MCP server over stdio with one tool, for the tests."""

from mcp.server.fastmcp import FastMCP

server = FastMCP("shop")


@server.tool()
def price(article: str) -> str:
    """The price of an article.

    Args:
        article: what is asked for
    """
    return {"lamp": "17 euros", "chair": "42 euros"}.get(article, "unknown")


if __name__ == "__main__":
    server.run()
