"""What is installed is pinned with hashes, and the files of requirements/ agree."""

import re
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parents[1] / "requirements").glob("*.txt"))
RESOLVED = [file for file in FILES if file.name != "no-torch.txt"]
_PIN = re.compile(
    r"^([a-z0-9._-]+)(?:\[[a-z0-9,-]+\])?==([^\s;]+)([^\n]*)\n((?: {4}[^\n]*\n)*)", re.MULTILINE
)
_TOGETHER = (
    "run.txt", "worker.txt", "torch.txt", "dev.txt", "deploy.txt", "gateway.txt", "build.txt",
)  # fmt: skip
"""Installed into one environment; the images' are tested in it."""


@pytest.mark.parametrize("file", RESOLVED, ids=lambda file: file.name)
def test_each_package_is_pinned_with_hashes(file: Path):
    text = file.read_text()
    pins = _PIN.findall(text)
    assert len(pins) > 0
    assert "://" not in text  # no index but the one that the machine has
    for name, version, _, below in pins:
        assert "--hash=sha256:" in below, f"{name}=={version}"
    left = _PIN.sub("", text)
    assert left.strip() == ""


def test_they_agree():
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name in _TOGETHER:
        text = (FILES[0].parent / name).read_text()
        for package, version, marker, _ in _PIN.findall(text):
            if "never" not in marker:  # torch, in the files that it is installed apart from
                found[package, marker.strip(" \\")].add(version)
    assert {package: versions for package, versions in found.items() if len(versions) > 1} == {}


def test_the_gateway_s_image_gets_all_that_the_gateway_needs():
    project = tomllib.loads((FILES[0].parents[1] / "pyproject.toml").read_text())["project"]
    pinned = {name for name, *_ in _PIN.findall((FILES[0].parent / "gateway.txt").read_text())}
    needed = {re.split(r"[\[<>=;\s]", line)[0] for line in project["dependencies"]}
    assert needed <= pinned
