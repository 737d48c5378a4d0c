"""What the README tells a newcomer to paste, pasted."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_every_file_it_links_to_is_there():
    root = Path(__file__).parent.parent
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (root / link).exists()] == []


def test_every_make_target_it_names_is_there():
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    for target in re.findall(r"make ([a-z-]+)", README):
        assert f"\n{target}:" in makefile or target == "make", target
