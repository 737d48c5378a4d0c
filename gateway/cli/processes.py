"""The processes of `gateway run --processes N`, on one socket, watched by their parent.

One that dies or hangs is replaced. They end together: the parent passes signals on, closes its own
copy of the socket, and waits until all have drained. If one can't start, all end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from multiprocessing.connection import wait

import structlog
import uvicorn
from uvicorn.server import Server
from uvicorn.supervisors.multiprocess import Process as Child

from gateway.cli.draining import DrainingServer

log = structlog.get_logger()

NOT_STARTED = 3
"""The exit status of a server that could not start, the same as uvicorn's."""
_LOOK_SECONDS = 1.0
"""How often the parent looks whether a process hangs."""
_HANGS_SECONDS = 10.0
"""How long a process may take to answer that it is alive."""
_STARTS_SECONDS = 120.0
"""How long its first answer may take: it can't answer while it imports, maybe from a slow disk."""


class Processes:
    """The parent. `run` returns once all have ended."""

    def __init__(self, config: uvicorn.Config, *, drain_seconds: float) -> None:
        self._config = config
        self._drain_seconds = drain_seconds
        self._socket = config.bind_socket()
        self._children: list[_Child] = []
        self._ending: signal.Signals | None = None
        """The signal that the children get."""
        self._told_once: set[_Child] = set()
        self._status = 0

    def run(self) -> int:
        """Serve until told to end; returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self._told)
        with contextlib.closing(self._socket):
            self._children = [self._start() for _ in range(self._config.workers)]
            while self._ending is None:
                wait([child.process.sentinel for child in self._children], _LOOK_SECONDS)
                self._look()
        for child in self._children:
            if child not in self._told_once:  # it started while the signal came
                self._tell(child)
            child.join()
        return self._status

    def _start(self) -> _Child:
        child = _Child(self._config, [self._socket], self._drain_seconds)
        child.start()
        return child

    def _told(self, number: int, _frame: object) -> None:
        """Pass a signal on. This may run between any two steps of the parent.

        A terminal sends Ctrl-C to the children as well. So they get SIGQUIT from here, which ends
        them like a first Ctrl-C, while a second SIGINT would end them at once.
        """
        if number == signal.SIGINT and self._ending == signal.SIGQUIT:
            for child in self._children:
                child.process.kill()
            os._exit(128 + signal.SIGINT)
        self._ending = signal.SIGTERM if number == signal.SIGTERM else signal.SIGQUIT
        for child in self._children:
            self._tell(child)

    def _tell(self, child: _Child) -> None:
        if self._ending is not None and child.process.pid is not None and child.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.process.pid, self._ending)
                self._told_once.add(child)

    def _look(self) -> None:
        """Replace processes that died or hang; end if one could not start."""
        for place, child in enumerate(self._children):
            if self._ending is not None:
                return
            if child.process.is_alive() and not child.hangs():
                continue
            child.kill()
            child.join()
            if child.exitcode == NOT_STARTED:
                self._status = NOT_STARTED
                self._told(signal.SIGQUIT, None)
            elif self._ending is None:
                log.error("a process of this gateway died", status=child.exitcode)
                self._children[place] = self._start()


class _Child(Child):
    """One process."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], drain_seconds: float
    ) -> None:
        super().__init__(config, sockets)
        self._drain_seconds = drain_seconds
        self._asked_at: float | None = None
        self._has_answered = False

    def hangs(self) -> bool:
        """Tell whether it has been silent for too long, without waiting: others may die too."""
        try:
            while self.parent_conn.poll():
                self.parent_conn.recv()
                self._asked_at, self._has_answered = None, True
            if self._asked_at is None:
                self._asked_at = time.monotonic()
                self.parent_conn.send(b"ping")
        except (OSError, EOFError):
            return True
        silence_max = _HANGS_SECONDS if self._has_answered else _STARTS_SECONDS
        return time.monotonic() - self._asked_at > silence_max

    @property
    def server(self) -> Server:
        """The server that runs in the child."""
        if self._server is None:
            self._server = DrainingServer(self.config, drain_seconds=self._drain_seconds)
        return self._server
