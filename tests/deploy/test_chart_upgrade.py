"""The chart looks at what runs before an upgrade, and refuses what would fail half-way."""

import copy
from pathlib import Path

import pytest

from testing.chart import cluster, rendering
from testing.chart.rendering import Manifest, RenderFailed

pytestmark = pytest.mark.long
NOW = "0.2.0"


def refusal(kubeconfig: Path, *values: str) -> str:
    """Return what an upgrade to these values is refused with, "" if helm goes on to build it.

    That fails: the cluster knows no Services.
    """
    chosen = ["-f", str(rendering.SETS / "minimal-values.yaml")]
    chosen += [word for value in values for word in ("--set", value)]
    with pytest.raises(RenderFailed) as failed:
        rendering.rendered(
            *chosen, "--is-upgrade", "--dry-run=server", "--disable-openapi-validation",
            "--kubeconfig", str(kubeconfig),
        )  # fmt: skip
    said = str(failed.value)
    if "unable to build kubernetes objects" in said:
        return ""
    assert "templates/checks.yaml" in said
    return said


def of_version(version: str) -> list[Manifest]:
    manifests = copy.deepcopy(list(rendering.manifests("minimal")))
    for manifest in manifests:
        labels = manifest["metadata"].get("labels", {})
        labels["app.kubernetes.io/version"] = version
    return manifests


def test_an_upgrade_from_before_is_taken(tmp_path: Path):
    with cluster.holding(of_version("0.1.9"), tmp_path) as kubeconfig:
        assert refusal(kubeconfig) == ""


def test_a_journal_is_not_lost_and_a_volume_not_changed(tmp_path: Path):
    with cluster.holding(of_version(NOW), tmp_path) as kubeconfig:
        assert "usage that was answered and not charged yet" in refusal(
            kubeconfig, "dataPlane.journal.persistent=false"
        )
        assert "can't change on a StatefulSet (1Gi, now 3Gi)" in refusal(
            kubeconfig, "dataPlane.journal.gibibytes=3"
        )


def test_an_older_version_does_not_replace_a_newer_one_by_mistake(tmp_path: Path):
    with cluster.holding(of_version("0.3.0"), tmp_path) as kubeconfig:
        assert f"0.3.0 runs, and this chart brings {NOW}: use `helm rollback`" in refusal(
            kubeconfig
        )
        assert refusal(kubeconfig, "upgrade.allowDowngrade=true") == ""
