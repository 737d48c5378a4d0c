"""How `gateway run` and `gateway dev` end."""

import signal
import socket
import subprocess
import sys

_SERVED = """
import asyncio, uvicorn
from gateway.cli.ending import EndingServer

async def app(scope, receive, send):
    print("asked", flush=True)
    await asyncio.sleep(60)

class Server(EndingServer):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)

config = uvicorn.Config(
    app, port=0, lifespan="off", log_level="critical", timeout_graceful_shutdown=30
)
Server(config, at_once=lambda: print("told the others", flush=True)).run()
"""


def test_ctrl_c_says_what_it_waits_for_and_a_second_one_ends_at_once():
    child = subprocess.Popen([sys.executable, "-c", _SERVED], stdout=subprocess.PIPE, text=True)
    with child, socket.socket() as client:
        assert child.stdout
        client.connect(("127.0.0.1", int(child.stdout.readline())))
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert child.stdout.readline() == "asked\n"
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == (
            "Waiting for 1 request in progress, at most 30 s. Ctrl-C again ends at once.\n"
        )
        child.send_signal(signal.SIGINT)
        assert child.stdout.read() == "told the others\n"
    assert child.returncode == 130
