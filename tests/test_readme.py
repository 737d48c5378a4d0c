"""What the README tells a newcomer to paste, pasted."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from testing import servers
from testing.gateways import MODEL

README = (Path(__file__).parent.parent / "README.md").read_text()


def example(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    (found,) = [block for block in blocks if containing in block]
    return found


def needs(program: str) -> None:
    if shutil.which(program) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{program} is not installed")
        pytest.skip(f"{program} is not installed")


def run(served: tuple[str, str], *command: str) -> str:
    url, secret = served
    environment = {**os.environ, "OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": secret}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def test_curl(served: tuple[str, str]):
    needs("curl")
    command = example("sh", "curl").replace(". .data/dev.env\n", "")
    assert '"total_tokens":6' in run(served, "bash", "-c", command)


def test_python(served: tuple[str, str]):
    assert run(served, sys.executable, "-c", example("python", "OpenAI")) == "2 384 19\n"


def test_javascript(served: tuple[str, str], tmp_path: Path):
    needs("node")
    script = tmp_path / "example.mjs"
    script.write_text(example("javascript", "fetch"))
    assert run(served, "node", str(script)) == "2 384 19\n"


@pytest.mark.long
def test_the_service_is_pasted_twice(postgresql_database_url: list[str], tmp_path: Path):
    """The block whole, but for the installation and the ports, with the database of the tests."""
    needs("openssl")
    install = "pip install --require-hashes -r requirements/run.txt &&\n  pip install --no-deps ."
    block = example("sh", "gateway run")
    assert install in block
    block = block.replace(install, ":")
    block = re.sub(r"postgresql://.*", postgresql_database_url[0], block)
    block = block.replace("--port 9000", "--port 9000 --drain-seconds 0")
    door, worker = servers.free_port(), servers.free_port()
    block = block.replace("8080", str(door)).replace("9000", str(worker))
    url = f"http://127.0.0.1:{door}"
    with pasted(block, tmp_path) as shell:
        said = until_it_listens(shell, url)
        assert "up to date" in said
        (key,) = re.findall(r"^sk-\S+$", said, re.MULTILINE)
        assert embed(url, key) == 200
    assert (tmp_path / ".service").stat().st_mode & 0o777 == 0o700
    with pasted(block, tmp_path) as shell:
        said = until_it_listens(shell, url)
        assert "There is already an organization 'Acme'" in said
        assert "sk-" not in said
        assert embed(url, key) == 200


@contextlib.contextmanager
def pasted(block: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a block in a shell of its own, and end all that it started."""
    unwanted = ("GATEWAY_", "DATABASE_URL", "REDIS_URL")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment["GATEWAY_DRAIN_SECONDS"] = "0"
    environment["PYTHONPATH"] = str(Path(__file__).parent.parent)
    with subprocess.Popen(
        ["bash", "-c", block], cwd=folder, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as shell:  # fmt: skip
        try:
            yield shell
        finally:
            os.killpg(shell.pid, signal.SIGTERM)
            shell.communicate(timeout=30)  # until the last of them has closed it


def until_it_listens(shell: subprocess.Popen[str], url: str) -> str:
    said = ""
    assert shell.stdout
    for line in shell.stdout:
        said += line
        if line == f"listening on {url}\n":
            return said
    raise AssertionError(said)


def embed(url: str, key: str) -> int:
    headers = {"authorization": f"Bearer {key}", "prefer": "wait=30"}
    body = {"model": MODEL, "input": "Hello, service!"}
    return httpx.post(f"{url}/v1/embeddings", headers=headers, json=body, timeout=60).status_code


def test_every_file_it_links_to_is_there():
    root = Path(__file__).parent.parent
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (root / link).exists()] == []


def test_every_make_target_it_names_is_there():
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    for target in re.findall(r"make ([a-z-]+)", README):
        assert f"\n{target}:" in makefile or target == "make", target
