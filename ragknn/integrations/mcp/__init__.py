"""A server of the Model Context Protocol, by which assistants and editors search an index: `ragknn mcp NAME`.

    from ragknn.integrations.mcp import create_server, serve_stdio

    asyncio.run(serve_stdio(create_server("handbook")))

Its tools read and change nothing. The SDK is optional: `pip install 'ragknn[mcp]'`.
"""

try:
    import mcp  # noqa: F401  # before the imports below, whose error would be less helpful
except ModuleNotFoundError as error:
    from ragknn import MissingDependency

    raise MissingDependency("mcp", "ragknn.integrations.mcp", "mcp") from error

from ragknn.integrations.mcp.server import create_server
from ragknn.integrations.mcp.transports import serve_http, serve_stdio

__all__ = ["create_server", "serve_http", "serve_stdio"]
