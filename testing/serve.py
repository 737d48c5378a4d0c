"""`python -m testing.serve`: the gateway as a process of its own, on a free port.

Reads the environment as `gateway run` does, and prints `listening on URL`.
"""

import socket

import uvicorn

from gateway.app import build
from gateway.data_plane.api.front_door import FrontDoor

listener = socket.create_server(("127.0.0.1", 0))


class Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)


Server(
    uvicorn.Config(
        build(), http=FrontDoor, log_level="warning", access_log=False, proxy_headers=False
    )
).run([listener])
