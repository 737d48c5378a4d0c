"""Real processes for the tests: started, awaited by what they print, ended for certain."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence


class Process:
    """A child that printed `listening on URL`."""

    def __init__(self, command: Sequence[str], env: dict[str, str] | None = None) -> None:
        self.command = list(command)
        self.child = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        assert self.child.stdout
        line = self.child.stdout.readline()
        assert line.startswith("listening on "), f"{command} said {line!r}"
        self.url = line.removeprefix("listening on ").strip()

    def wait_ready(self) -> None:
        """Wait for the line `ready` of a worker that warms up behind its open door."""
        assert self.child.stdout
        line = self.child.stdout.readline()
        assert line == "ready\n", f"{self.command} said {line!r}"

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send a signal and wait for the end."""
        self.child.send_signal(number)
        return self.child.wait(timeout=30)

    def close(self) -> None:
        """End it, whatever its state."""
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
    """Run `python -m command...` to its good end, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout
