"""Who is measured: ours on both databases, and others in front of the same stand-in worker.

Each is a process with the arguments of its own documentation for a bare, quiet, single-core start.
One that can't be had is left out, with the reason in one line.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gateway.loads import SHORT, write
from benchmarks.gateway.native import StandIn
from testing import servers
from testing.gateways import SECRET, STELLA

_POLL_SECONDS = 0.1
_STOP_SECONDS = 30
_INSTALL_SECONDS = 600
_LITELLM_KEY = "sk-litellm-master-0123456789"

OURS, OURS_SQLITE = "ours, PostgreSQL", "ours, SQLite"
NGINX, LITELLM, VLLM_ROUTER = "nginx with key lookup", "LiteLLM", "vllm-router"
DIRECT = "the stand-in itself"


class LeftOut(Exception):
    """A contender can't be had here; the error says why."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A server, not started yet."""

    name: str
    version: str
    command: Sequence[str]
    port: int
    keys: Sequence[str]
    """Used in turn."""
    environment: Mapping[str, str] = field(default_factory=dict)
    ready_seconds: float = 60.0
    is_ours: bool = False


@dataclass(frozen=True, kw_only=True)
class Running:
    """A contender that answers."""

    contender: Contender
    child: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End it, gently at first."""
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


@contextlib.contextmanager
def running(
    contenders: Sequence[Contender], folder: Path, cores: str
) -> Iterator[dict[str, Running]]:
    """Run them side by side on some cores until the block ends; what doesn't start is left out."""
    with contextlib.ExitStack() as stack:
        started = []
        for one in contenders:
            started.append(Running(contender=one, child=_start(one, folder, cores)))
            stack.callback(started[-1].stop)
        found = {}
        for now in started:
            try:
                _wait(now, folder)
            except LeftOut as error:
                print(f"left out: {now.contender.name}: {error}", flush=True)
            else:
                found[now.contender.name] = now
        yield found


def _start(one: Contender, folder: Path, cores: str) -> subprocess.Popen[bytes]:
    with _log(one, folder).open("wb") as log:
        return subprocess.Popen(
            [shutil.which("taskset") or "taskset", "-c", cores, *one.command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **one.environment},
            cwd=folder,
        )


def _log(one: Contender, folder: Path) -> Path:
    return folder / f"{''.join(filter(str.isalnum, one.name))}.log"


def _wait(now: Running, folder: Path) -> None:
    """Wait until a request gets its 200."""
    one = now.contender
    request = write(folder / "first.bin", SHORT, one.keys[:1], bodies=1).read_bytes()
    body = request.partition(b"\r\n\r\n")[2]
    deadline = time.monotonic() + one.ready_seconds
    said = ""
    while time.monotonic() < deadline and now.child.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=10)
            headers = {
                "authorization": f"Bearer {one.keys[0]}",
                "content-type": "application/json",
            }
            connection.request("POST", "/v1/embeddings", body, headers)
            answer = connection.getresponse()
            said = answer.read(200).decode(errors="replace")
            connection.close()
            if answer.status == 200:
                return
        time.sleep(_POLL_SECONDS)
    lines = _log(one, folder).read_text(errors="replace").strip().splitlines()
    raise LeftOut(f"it does not answer: {said or (lines or ['it said nothing'])[-1]}"[:200])


def ours(
    name: str,
    url: str,
    keys: Sequence[str],
    workers: str,
    *,
    folder: Path,
    processes: int = 1,
    module: str = "gateway",
    **environment: str,
) -> Contender:
    """Return `gateway run` with every setting at its default; `module` may run it differently."""
    port = servers.free_port()
    command = [sys.executable, "-m", module, "run", "--port", str(port)]
    return Contender(
        name=name,
        version=_revision(),
        command=[*command, "--processes", str(processes)],
        port=port,
        keys=keys,
        environment={
            "GATEWAY_SECRET": SECRET,
            "DATABASE_URL": url,
            "GATEWAY_WORKERS": workers,
            "GATEWAY_JOURNAL_PATH": str(folder / f"journal-{port}"),
            "GATEWAY_DRAIN_SECONDS": "0",
            "PYTHONPATH": str(Path.cwd()),  # it starts in the benchmark's folder
            **environment,
        },
        is_ours=True,
    )


def others(
    worker: StandIn, keys: Sequence[str], folder: Path, *, install: bool
) -> Iterator[Contender]:
    """Give the peers that can be had, and print a line for each that can't."""
    makers: list[Callable[[], Contender]] = [
        lambda: nginx(worker, keys, folder, install=install),
        lambda: vllm_router(worker, folder),
        lambda: litellm(worker, folder),
    ]
    for make in makers:
        try:
            yield make()
        except LeftOut as error:
            print(f"left out: {error}", flush=True)


def direct(worker: StandIn) -> Contender:
    """Return the worker itself, as if it were a gateway: what the others add, they add to this."""
    return Contender(
        name=DIRECT, version="", command=["sleep", "infinity"], port=worker.port, keys=["-"]
    )


def bare() -> Contender:
    """Return a server that does nothing but answer."""
    port = servers.free_port()
    command = [sys.executable, "-m", "benchmarks.gateway.bare", str(port)]
    environment = {"PYTHONPATH": str(Path.cwd())}
    return Contender(
        name="bare", version="", command=command, port=port, keys=["-"], environment=environment
    )


def nginx(worker: StandIn, keys: Sequence[str], folder: Path, *, install: bool) -> Contender:
    """Return nginx as a proxy that knows the keys. Raises LeftOut."""
    binary = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if binary is None and install:
        binary = _from_apt(folder)
    if binary is None:
        raise LeftOut("nginx: it is not here; --install gets it with apt")
    port = servers.free_port()
    (folder / "keys.map").write_text("".join(f'"Bearer {key}" 1;\n' for key in keys))
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, worker=worker.port))
    said = subprocess.run([binary, "-v"], capture_output=True, text=True, check=True).stderr
    return Contender(
        name=NGINX,
        version=said.strip().rpartition("/")[2],
        command=[binary, "-p", str(folder), "-c", str(config), "-e", str(folder / "nginx.err")],
        port=port,
        keys=keys,
    )


def _from_apt(folder: Path) -> str:
    """Unpack the distribution's nginx below the folder; nothing is installed or started."""
    there = folder / "nginx"
    there.mkdir(exist_ok=True)
    try:
        _run(["apt-get", "update", "-qq"], there)
        _run(["apt-get", "download", "-qq", "nginx"], there)
        (package,) = there.glob("nginx_*.deb")
        _run(["dpkg", "-x", str(package), str(there)], there)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise LeftOut(f"nginx: apt does not give it: {error}") from None
    return str(there / "usr" / "sbin" / "nginx")


def vllm_router(worker: StandIn, folder: Path) -> Contender:
    """Return vLLM's router in Rust, which knows no keys. Raises LeftOut."""
    port = servers.free_port()
    binary, version = _from_index("vllm-router", "vllm-router", folder)
    return Contender(
        name=VLLM_ROUTER,
        version=version,
        command=[
            *(binary, "--host", "127.0.0.1", "--port", str(port)),
            *("--worker-urls", f"http://127.0.0.1:{worker.port}", "--policy", "round_robin"),
            *("--log-level", "error", "--prometheus-port", str(servers.free_port())),
            *("--max-concurrent-requests", "4096"),
        ],
        port=port,
        keys=["-"],
        environment={"TOKIO_WORKER_THREADS": "1"},
    )


def litellm(worker: StandIn, folder: Path) -> Contender:
    """Return LiteLLM's proxy with a master key and no database. Raises LeftOut."""
    port = servers.free_port()
    binary, version = _from_index("litellm[proxy]", "litellm", folder)
    config = folder / "litellm.yaml"
    config.write_text(_LITELLM.format(model=STELLA, worker=worker.port, key=_LITELLM_KEY))
    return Contender(
        name=LITELLM,
        version=version,
        command=[
            *(binary, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)),
            *("--num_workers", "1"),
        ],
        port=port,
        keys=[_LITELLM_KEY],
        environment={
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_TELEMETRY": "False",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "NO_DOCS": "True",
            "DISABLE_ADMIN_UI": "True",
        },
        ready_seconds=120.0,
    )


def tool(package: str, program: str, folder: Path) -> str:
    """Return a program of the package index, in an environment of its own. Raises LeftOut."""
    return _from_index(package, program, folder)[0]


def _from_index(package: str, program: str, folder: Path) -> tuple[str, str]:
    """Install a package into a folder of its own, once; return its program and its version."""
    there = folder / f"venv-{program}"
    python = there / "bin" / "python"
    name = package.partition("[")[0]
    try:
        if not (there / "bin" / program).exists():
            print(f"installing {package} into {there}", flush=True)
            _run([sys.executable, "-m", "venv", str(there)], folder)
            pip = (str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check")
            _run([*pip, package], folder)
        read = f"import importlib.metadata as m; print(m.version({name!r}))"
        version = _run([str(python), "-c", read], folder)
    except (OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(there, ignore_errors=True)
        raise LeftOut(f"{name}: the package index does not give it: {error}") from None
    return str(there / "bin" / program), version


def _revision() -> str:
    try:
        return _run(["git", "describe", "--always", "--dirty"], Path(__file__).parent)
    except (OSError, subprocess.SubprocessError):
        return ""


def _run(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, timeout=_INSTALL_SECONDS, check=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout.strip()


_NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; worker_rlimit_nofile 65536;
events {{ worker_connections 4096; }}
http {{
  access_log off; error_log {folder}/nginx.err warn; tcp_nodelay on;
  keepalive_timeout 300; keepalive_requests 100000000;
  client_body_buffer_size 128k; client_max_body_size 20m;
  proxy_buffers 16 32k; proxy_buffer_size 32k; proxy_busy_buffers_size 64k;
  client_body_temp_path {folder}/nginx-body; proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-f; uwsgi_temp_path {folder}/nginx-u;
  scgi_temp_path {folder}/nginx-s;
  map_hash_bucket_size 128; map_hash_max_size 16384;
  map $http_authorization $known {{ default 0; include {folder}/keys.map; }}
  upstream worker {{ server 127.0.0.1:{worker}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      if ($known = 0) {{ return 401; }}
      proxy_pass http://worker; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}
}}
"""
_LITELLM = """
model_list:
  - model_name: {model}
    litellm_params:
      model: openai/stand-in
      api_base: http://127.0.0.1:{worker}/v1
      api_key: none
general_settings:
  master_key: {key}
litellm_settings:
  set_verbose: false
  telemetry: false
"""
