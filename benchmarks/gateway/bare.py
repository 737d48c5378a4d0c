"""The least that a server in Python can be: `python -m benchmarks.gateway.bare PORT`.

A protocol on the gateway's event loop that answers whatever comes with bytes made once.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

_BODY = b'"%b"' % (b"A" * 5_464)  # 1,024 floats as base64
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)


class Bare(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Keep what writes."""
        self._transport = transport

    def data_received(self, _data: bytes) -> None:
        """Answer."""
        self._transport.write(_ANSWER)


async def serve(port: int) -> None:
    """Serve until the process is told to end."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Bare, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
