"""A rendered pod as a container that the harness can run: its command, volumes and probes."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from testing import dockerfile
from testing.chart.rendering import REPOSITORY, Manifest
from testing.containers import Container, Get

_FILES = {"gateway": "docker/gateway.Dockerfile", "worker": "docker/worker.Dockerfile"}


def pod(manifests: Sequence[Manifest], component: str) -> Manifest:
    """Return the pod of a component."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        found: Manifest = manifest if manifest["kind"] == "Pod" else spec.get("template")
        if found and found["metadata"]["labels"]["app.kubernetes.io/component"] == component:
            return found
    raise LookupError(f"there is no {component}")


def container(
    template: Manifest,
    *,
    name: str,
    secrets: Mapping[str, Mapping[str, str]],
    maps: Mapping[str, Mapping[str, str]],
    volumes: Path,
) -> Container:
    """Describe a pod's only container; `secrets` and `maps` are all Secrets and ConfigMaps.

    Each volume is a folder in `volumes`, as Kubernetes makes it for a pod's group (fsGroup).
    """
    spec = template["spec"]
    (described,) = spec["containers"]
    security = spec["securityContext"]
    engine = "minilm" if "backends.minilm" in described["command"] else None
    image = dockerfile.read(REPOSITORY / _FILES["worker" if engine else "gateway"], engine)
    place = image.env["PATH"].partition("/bin")[0]
    files: dict[str, str] = {}
    kept: dict[str, Path] = {}
    temporary: list[str] = []
    sources = {volume["name"]: volume for volume in spec.get("volumes", [])}
    for mount in described["volumeMounts"]:
        source = sources.get(mount["name"], {})
        if "emptyDir" in source and mount["name"] == "tmp":
            temporary.append(f"{mount['mountPath']}:mode=2770,gid={security['fsGroup']}")
        elif content := _content(source, secrets, maps):
            files |= {f"{mount['mountPath']}/{file}": text for file, text in content.items()}
        else:
            kept[mount["mountPath"]] = _volume(volumes / name / mount["name"], security["fsGroup"])
    return Container(
        name=name,
        command=described["command"],
        env={**image.env, **_environment(described, secrets)},
        files=files,
        mounts={place: Path(sys.prefix)},
        volumes=kept,
        temporary=temporary,
        user=security["runAsUser"],
        group=security["runAsGroup"],
        folder=image.folder,
    )


def probes(template: Manifest) -> dict[str, Get]:
    """Return a pod's probes, by name."""
    (described,) = template["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in described["ports"]}
    return {
        name: Get(ports[probe["httpGet"]["port"]], probe["httpGet"]["path"])
        for name, probe in described.items()
        if name.endswith("Probe")
    }


def _environment(
    described: Mapping[str, Any], secrets: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Return its variables. Raises KeyError for a Secret or a key that there is not."""
    found = {}
    for variable in described.get("env", []):
        source = variable.get("valueFrom", {}).get("secretKeyRef")
        value = secrets[source["name"]][source["key"]] if source else variable["value"]
        found[variable["name"]] = value
    return found


def _content(
    source: Mapping[str, Any],
    secrets: Mapping[str, Mapping[str, str]],
    maps: Mapping[str, Mapping[str, str]],
) -> Mapping[str, str]:
    if "configMap" in source:
        return maps[source["configMap"]["name"]]
    if "secret" in source:
        whole = secrets[source["secret"]["secretName"]]
        items = source["secret"].get("items")
        return {item["path"]: whole[item["key"]] for item in items} if items else whole
    return {}


def _volume(folder: Path, group: int) -> Path:
    folder.mkdir(parents=True)
    os.chown(folder, 0, group)
    folder.chmod(0o2770)
    return folder
