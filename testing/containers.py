"""Containers without a container runtime: plain processes, each in namespaces of its own.

A container is described as compose and Kubernetes describe one. It gets a network address and a
name that the others find, its user without any right, a read-only root, its volumes, its secrets
as files, and it is process 1, with that one's signals. Only the image is missing: its root is this
machine's, or one that was built (`Container.root`).

It takes root on Linux with `ip`, `unshare` and overlays; `why_not` says what is missing. Whatever
becomes of the tests, nothing is left: processes die with them, and namespaces with processes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple, Self

import httpx

from testing.servers import free_port

TOP = Path(__file__).parents[1]
_SCRIPT = Path(__file__).with_name("container.sh")
_NETWORK = "10.88.0."  # in a namespace of its own, so that no other is disturbed
_READY_SECONDS = 120.0
_LOOK_SECONDS = 0.5  # a look starts a process
_STOP_SECONDS = 70.0
NEEDED = ("ip", "unshare", "nsenter", "setpriv", "chroot", "mount")
"""Programs, of Debian's packages iproute2 and util-linux."""


class Get(NamedTuple):
    """A probe over HTTP, from outside of the container, as a kubelet asks."""

    port: int
    path: str


class Exec(NamedTuple):
    """A probe by a command inside the container; status 0 is good."""

    command: Sequence[str]


Probe = Get | Exec


@dataclass(frozen=True, kw_only=True)
class Container:
    """What a runtime is told of a container."""

    name: str
    """It is also how the others find it."""
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Read-only files, such as secrets: path -> content."""
    mounts: Mapping[str, Path] = field(default_factory=dict)
    """Read-only files and folders of this machine: path -> what is there."""
    volumes: Mapping[str, Path] = field(default_factory=dict)
    """Folders that it may write, which outlive it: path -> folder of this machine."""
    temporary: Sequence[str] = ("/tmp",)
    """Empty folders in memory, which it may write; with options of a mount after a colon."""
    user: int = 65532
    group: int = 65532
    folder: str = "/tmp"
    """The working directory."""
    root: Path = Path("/")
    """The image's root file system."""
    probe: Probe | None = None


@cache
def why_not() -> str:
    """Return why containers can't be run here; "": they can."""
    if sys.platform != "linux" or os.getuid() != 0:
        return "containers take root on Linux"
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        return f"missing: {' '.join(missing)}"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "ip", "link", "add",
         "bridge", "type", "bridge"],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    return f"this kernel lets us make no network: {tried.stderr}" if tried.returncode else ""


class Running:
    """A container that was started."""

    def __init__(self, machine: Machine, container: Container, address: str) -> None:
        self.container = container
        self.address = address
        self._machine = machine
        self.log = machine.folder / f"{container.name}.log"
        self._published: dict[int, str] = {}
        self._stack = contextlib.ExitStack()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*machine.inside, "unshare", "--net", "--mount", "--pid", "--ipc", "--uts",
                 "--fork", "--kill-child", "sh", str(_SCRIPT), str(self.log),
                 *_arguments(machine, container, address)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip

    def connect(self) -> Self:
        """Give it its end of a cable, and let it go on."""
        process = self._process
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == b"here\n", self.said
        link = f"v{process.pid}"
        self._machine.run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0",
                          "netns", str(process.pid))  # fmt: skip
        self._machine.run("ip", "link", "set", link, "master", "bridge", "up")
        process.stdin.write(b"go\n")
        process.stdin.close()
        return self

    @property
    def said(self) -> str:
        """What it wrote to its output so far."""
        return self.log.read_text(errors="replace")

    @property
    def first_process(self) -> int:
        """The container's process 1, as this machine counts."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert children, self.said
        return int(children[0])

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run another command inside, as its user and with its environment."""
        container = self.container
        return subprocess.run(
            ["nsenter", f"--target={self.first_process}", "--net", "--mount", "--pid", "--ipc",
             "--uts", "--root", f"--wdns={container.folder}", *_as_user(container), *command],
            capture_output=True, text=True, check=False, timeout=_READY_SECONDS,
        )  # fmt: skip

    def url(self, port: int) -> str:
        """Publish a port on this machine's loopback address; return its URL, without a path."""
        if port not in self._published:
            publisher = _Publisher(self._machine, self.address, port)
            self._stack.callback(publisher.close)
            self._published[port] = publisher.url
        return self._published[port]

    def is_good(self, probe: Probe) -> bool:
        """Ask once."""
        if isinstance(probe, Exec):
            return self.execute(*probe.command).returncode == 0
        try:
            return httpx.get(f"{self.url(probe.port)}{probe.path}", timeout=3).status_code == 200
        except httpx.TransportError:
            return False

    def wait(self, probe: Probe | None = None) -> Running:
        """Wait until a probe is good, by default its own; it fails if the container ends."""
        asked = probe or self.container.probe
        assert asked
        deadline = time.monotonic() + _READY_SECONDS
        while not (self.is_running and self.is_good(asked)):
            assert self.is_running, f"{self.container.name} ended: {self.said}"
            assert time.monotonic() < deadline, f"{self.container.name}: {asked}: {self.said}"
            time.sleep(_LOOK_SECONDS)
        return self

    @property
    def is_running(self) -> bool:
        """Whether its process 1 has not ended."""
        return self._process.poll() is None

    def send(self, number: int = signal.SIGTERM) -> None:
        """Send process 1 a signal."""
        os.kill(self.first_process, number)

    def ended(self) -> int:
        """Wait until it ends; return its status."""
        return self._process.wait(timeout=_STOP_SECONDS)

    def close(self) -> None:
        """Kill what is left of it."""
        _end(self._process)
        self._stack.close()


class Machine:
    """What containers share: a network and the names in it. A context manager."""

    def __init__(self, names: Sequence[str], aliases: Mapping[str, str] | None = None) -> None:
        """`aliases` are further names, each of a container."""
        self._addresses = {name: f"{_NETWORK}{number}" for number, name in enumerate(names, 2)}
        of_aliases = {name: self._addresses[of] for name, of in (aliases or {}).items()}
        self.hosts = {"localhost": "127.0.0.1", **self._addresses, **of_aliases}
        self.folder = Path()
        self.inside: list[str] = []
        """What runs a command in the network of the containers."""
        self._stack = contextlib.ExitStack()
        self._running: list[Running] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            made = tempfile.TemporaryDirectory(prefix="stella-machine-")
            self.folder = Path(stack.enter_context(made))
            self.folder.chmod(0o755)
            holder = subprocess.Popen(
                ["unshare", "--net", "setpriv", "--pdeathsig", "KILL", "sh", "-c",
                 "echo here; exec sleep infinity"],
                stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            stack.callback(_end, holder)
            assert holder.stdout
            assert holder.stdout.readline() == "here\n"
            network = f"--net=/proc/{holder.pid}/ns/net"
            self.inside = ["setpriv", "--pdeathsig", "KILL", "nsenter", network]
            self.run("ip", "link", "add", "bridge", "type", "bridge")
            self.run("ip", "address", "add", f"{_NETWORK}1/24", "dev", "bridge")
            self.run("ip", "link", "set", "bridge", "up")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            for running in self._running:
                self._stack.callback(running.close)

    def run(self, *command: str) -> None:
        """Run a command in the network of the containers."""
        done = subprocess.run(
            [*self.inside, *command], capture_output=True, text=True, check=False, timeout=30
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"

    def start(self, container: Container) -> Running:
        """Start a container, which must be among the names."""
        running = Running(self, container, self._addresses[container.name])
        self._running.append(running)  # first, so that it ends with us whatever happens
        return running.connect()


class _Publisher:
    """A port of a container on this machine's loopback address: a process in between."""

    def __init__(self, machine: Machine, address: str, port: int) -> None:
        with socket.create_server(("127.0.0.1", free_port()), backlog=128) as listener:
            # a socket stays in the network where it was made, and the process connects in the other
            self._process = subprocess.Popen(
                [*machine.inside, sys.executable, "-m", "testing.published",
                 str(listener.fileno()), address, str(port)],
                pass_fds=[listener.fileno()], cwd=TOP,
            )  # fmt: skip
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def close(self) -> None:
        _end(self._process)


def _end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def _arguments(machine: Machine, container: Container, address: str) -> list[str]:
    """Return the arguments of container.sh after the first."""
    place = machine.folder / container.name
    for folder in (place / "layer", place / "files"):
        folder.mkdir(parents=True)
    furnished: list[str] = []
    for described in container.temporary:
        path, _, options = described.partition(":")
        furnished += ["memory", path, options or "mode=1777"]
    for path, kept in container.volumes.items():
        furnished += ["keep", path, str(kept)]
    for path, shown in _shown(container, place / "files").items():
        furnished += ["show", path, str(shown)]
    hosts = "".join(f"{address} {name}\n" for name, address in machine.hosts.items())
    return [
        *(container.name, address, str(place / "layer"), str(container.root), hosts),
        *(str(container.user), str(container.group), container.folder),
        *(*furnished, "--", *_as_user(container), *container.command),
    ]


def _shown(container: Container, made: Path) -> dict[str, Path]:
    """Return what is mounted read-only, files of a given content included."""
    found: dict[str, Path] = {}
    if container.root == Path("/"):  # an image would have them, and an empty /tmp may hide them
        found |= {str(needed): needed for needed in (TOP, Path(sys.base_prefix))}
    found |= container.mounts
    for number, (path, content) in enumerate(container.files.items()):
        found[path] = made / str(number)
        found[path].write_text(content)
        found[path].chmod(0o444)
    return found


def _as_user(container: Container) -> list[str]:
    """Return what starts a command as the container's user, with no right and its environment."""
    return [
        "setpriv", f"--reuid={container.user}", f"--regid={container.group}", "--clear-groups",
        "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all",
        "--pdeathsig=KILL",  # the kernel forgot it when the user changed
        "env", "-i", *(f"{name}={value}" for name, value in container.env.items()),
    ]  # fmt: skip
