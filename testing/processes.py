"""Real processes for the tests: ready once they print so, and always killed at the end."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import IO


class Process:
    """A child that printed `listening on URL`."""

    def __init__(
        self,
        command: Sequence[str],
        env: dict[str, str] | None = None,
        *,
        stderr: IO[bytes] | None = None,
    ) -> None:
        self.command = list(command)
        self.child = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=env,
        )
        assert self.child.stdout
        line = self.child.stdout.readline()
        assert line.startswith("listening on "), f"{command} said {line!r}"
        self.url = line.removeprefix("listening on ").strip()

    def wait_ready(self) -> None:
        """Wait for the line `ready` of a worker that listens before it has warmed up."""
        assert self.child.stdout
        line = self.child.stdout.readline()
        assert line == "ready\n", f"{self.command} said {line!r}"

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send a signal, wait for the exit, and return its status."""
        self.child.send_signal(number)
        return self.child.wait(timeout=30)

    def close(self) -> None:
        """Kill it, even when it is stopped."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
            self.child.kill()
        self.child.wait(timeout=30)
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe:
                pipe.close()


@contextlib.contextmanager
def running(*command: str) -> Iterator[Process]:
    """Run `python -m command...` until the block ends."""
    process = Process([sys.executable, "-m", *command])
    try:
        yield process
    finally:
        process.close()


def said(*command: str) -> str:
    """Run `python -m command...`, assert that it exits with 0, and return its output."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout
