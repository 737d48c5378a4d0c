"""What each set of values renders, as files that a review can read.

Rules and dashboards have tests of their own, and would change these files with every word: their
contents are left out.
"""

from pathlib import Path

import yaml

from testing.chart import rendering
from testing.chart.rendering import REPOSITORY, Manifest

FOLDER = REPOSITORY / "tests/deploy/snapshots"


def file(name: str) -> Path:
    """Return where the snapshot of a set of values is."""
    return FOLDER / f"{name}.yaml"


def taken(name: str) -> str:
    """Return what a set of values renders now."""
    shortened = map(_shortened, rendering.manifests(name))
    return str(yaml.dump_all(shortened, Dumper=yaml.CSafeDumper, sort_keys=False))


def _shortened(manifest: Manifest) -> Manifest:
    if manifest["kind"] == "PrometheusRule":
        return {**manifest, "spec": "left out"}
    if manifest["kind"] == "ConfigMap":
        return {**manifest, "data": dict.fromkeys(manifest["data"], "left out")}
    return manifest
