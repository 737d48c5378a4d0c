"""A guide of the docs, followed as its reader does: files saved, commands run, output compared."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import gateway

CONTENT = Path(gateway.__file__).parent / "control_plane/pages/docs/content"
SLUGS = sorted(
    path.stem for path in CONTENT.glob("*.md") if "\ngroup: Guides\n" in path.read_text()
)
_MODULES = {"qdrant-client": "qdrant_client"}
_ABOUT = 0.06
"""How far a score may be from what is shown: int8 rounds by what else is in a batch."""
_SCORE = re.compile(r"(?<![\d.$])[01]\.\d{2,3}\b")
_STEP = re.compile(
    r"^\{\{ code: (?P<path>\S+) \}\}$|^```(?P<kind>bash|text)[^\n]*\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Step(NamedTuple):
    """A file that the reader saves, a command to run (bash), or what it prints (text)."""

    kind: str
    body: str


def words(slug: str) -> str:
    """Return the source of a guide."""
    return (CONTENT / f"{slug}.md").read_text()


def steps(slug: str) -> Iterator[Step]:
    """Yield what a reader does, in order."""
    for found in _STEP.finditer(words(slug)):
        if found["path"]:
            yield Step("file", found["path"])
        else:
            yield Step(found["kind"], found["body"])


def follow(slug: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Take all steps of a guide in a folder."""
    printed = ""
    for step in steps(slug):
        if step.kind == "file":
            shutil.copy(CONTENT / "code" / step.body, folder)
        elif step.kind == "bash":
            printed = run(step.body, folder, environment)
        else:
            assert alike(printed, step.body), f"{slug} shows\n{step.body}\nbut had\n{printed}"


def run(command: str, folder: Path, environment: Mapping[str, str], *, status: int = 0) -> str:
    """Run a command of a guide, and return what it prints. What it installs must be here."""
    command = re.sub(r"^pip install (.*)$", _installed, command, flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == status, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def alike(printed: str, shown: str) -> bool:
    """Compare output: scores roughly, everything else to the letter."""
    if _SCORE.sub("#", printed.strip()) != _SCORE.sub("#", shown.strip()):
        return False
    pairs = zip(_SCORE.findall(printed), _SCORE.findall(shown), strict=True)
    return all(abs(float(one) - float(other)) <= _ABOUT for one, other in pairs)


def module(path: str) -> ModuleType:
    """Import a code file of the guides."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, CONTENT / "code" / path)
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def _installed(command: re.Match[str]) -> str:
    for package in command[1].split():
        name = _MODULES.get(package, package)
        assert importlib.util.find_spec(name), f"{package} is in a guide, but not in the tests"
    return ":"
