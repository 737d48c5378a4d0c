"""A real HTTP server in a thread that receives webhooks, and keeps what it gets."""

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from standardwebhooks import Webhook


class Reply(NamedTuple):
    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = MappingProxyType({})


class Message(NamedTuple):
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def verified(self, secret: str) -> Any:
        """Return the body as the public package reads it, which raises for a bad signature."""
        return Webhook(secret).verify(self.body, self.headers)


class Receiver:
    """Answers 200, unless `answer` says otherwise; while `hold` is cleared it doesn't answer."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.answer: Callable[[Message], Reply] = lambda _message: Reply()
        self.hold = threading.Event()
        self.hold.set()
        self.busy = 0
        self.busy_most = 0
        self._arrived = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}/hooks"

    def wait(self, count: int = 1, seconds: float = 30.0) -> list[Message]:
        """Wait for so many messages, and return all."""
        with self._arrived:
            arrived = self._arrived.wait_for(lambda: len(self.messages) >= count, timeout=seconds)
        assert arrived, f"{len(self.messages)} of {count} messages"
        return list(self.messages)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(receiver) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                names = {name.lower(): value for name, value in self.headers.items()}
                message = Message(self.path, names, body)
                with receiver._arrived:
                    receiver.busy += 1
                    receiver.busy_most = max(receiver.busy_most, receiver.busy)
                    receiver.messages.append(message)
                    receiver._arrived.notify_all()
                receiver.hold.wait()
                reply = receiver.answer(message)
                with receiver._arrived:
                    receiver.busy -= 1
                self._reply(reply)

            def _reply(self, reply: Reply) -> None:
                self.send_response(reply.status)
                self.send_header("content-length", str(len(reply.body)))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(reply.body)
                except OSError:  # the client has read enough
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        return Handler
