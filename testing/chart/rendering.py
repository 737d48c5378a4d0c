"""Sets of values, rendered by the real helm, once for each process of the tests."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from testing import binaries

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "helm/stella-gateway"
SETS = CHART / "ci"
"""Sets of values: each is rendered, compared, validated, and its commands are run."""
RELEASE, NAMESPACE = "stella-gateway", "embeddings"

Manifest = dict[str, Any]


def names() -> list[str]:
    """Return the names of the sets."""
    return sorted(file.name.removesuffix("-values.yaml") for file in SETS.glob("*-values.yaml"))


@cache
def text(name: str) -> str:
    """Render a set of values. Raises RenderFailed."""
    return rendered("-f", str(SETS / f"{name}-values.yaml"))


@cache
def manifests(name: str) -> tuple[Manifest, ...]:
    """Return what a set renders, parsed."""
    return parsed(text(name))


def parsed(found: str) -> tuple[Manifest, ...]:
    """Return the manifests in a text."""
    return tuple(manifest for manifest in yaml.load_all(found, yaml.CSafeLoader) if manifest)


def rendered(*options: str, given: str = "") -> str:
    """Run `helm template`; `-f -` reads what is given. Raises RenderFailed, with what helm says."""
    return _helm("template", *options, given=given)


def notes(*options: str) -> str:
    """Return what `helm install` says when it is done."""
    return _helm("install", "--dry-run=client", *options).partition("\nNOTES:\n")[2]


def _helm(command: str, *options: str, given: str = "") -> str:
    done = subprocess.run(
        [str(binaries.FOLDER / "helm"), command, RELEASE, str(CHART), "-n", NAMESPACE, *options],
        input=given, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RenderFailed(done.stderr)
    return done.stdout


class RenderFailed(Exception):
    """Helm refuses the values; the text says why."""
