"""docker-compose.yml: read, with the variables of a shell filled in, and run by `containers`."""

import os
import re
import sys
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from testing import dockerfile
from testing.containers import TOP, Container, Exec, Machine, Running
from testing.dockerfile import Image

_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::([-?])([^}]*))?\})")


def read(
    variables: Mapping[str, str] | None = None, *, file: str = "docker-compose.yml"
) -> dict[str, Any]:
    """Read a compose file of this project. Raises KeyError for a variable that must be set."""
    given = variables or {}

    def fill(found: re.Match[str]) -> str:
        name, kind, default = found.groups()
        if name is None:
            return "$"
        if given.get(name):
            return given[name]
        if kind == "?":
            raise KeyError(f"{name}: {default}")
        return default or ""

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return _VARIABLE.sub(fill, value)
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [filled(item) for item in value]
        return value

    found: dict[str, Any] = filled(yaml.safe_load((TOP / file).read_text()))
    return found


def containers(
    services: Mapping[str, Any], *, secrets: Path, volumes: Path, stand_ins: Path
) -> dict[str, Container]:
    """Describe services as containers, for `Machine`.

    `secrets` holds the secrets' files, `volumes` gets a folder for each named volume, and
    `stand_ins` holds an executable for each program that an image of others brings.
    """
    return {
        name: _container(name, service, secrets, volumes, stand_ins)
        for name, service in services.items()
    }


def _container(
    name: str, service: Mapping[str, Any], secrets: Path, volumes: Path, stand_ins: Path
) -> Container:
    image = _image(service)
    user, group = image.user, image.group
    if "user" in service:
        user, group = map(int, service["user"].split(":"))
    mounts: dict[str, Path] = {"/stand-ins": stand_ins}
    if "build" in service:
        # what the Dockerfile copies there
        place = image.env["PATH"].partition("/bin")[0]
        mounts |= {place: Path(sys.prefix), "/usr/local/bin/healthy": TOP / "docker/healthy"}
    kept: dict[str, Path] = {}
    for volume in service.get("volumes", []):
        source, path = volume.split(":")[:2]
        if source.startswith("./"):
            mounts[path] = TOP / source
        else:  # it has the owner of the image's folder
            kept[path] = volumes / source
            kept[path].mkdir(exist_ok=True)
            os.chown(kept[path], user, group)
    return Container(
        name=name,
        command=[*_entrypoint(service), *service.get("command", image.command)],
        env={**image.env, **service.get("environment", {})},
        files={
            f"/run/secrets/{secret}": (secrets / secret).read_text()
            for secret in service.get("secrets", [])
        },
        mounts=mounts,
        volumes=kept,
        temporary=service.get("tmpfs", []),
        user=user,
        group=group,
        folder=image.folder,
        probe=_probe(service, image),
    )


def _image(service: Mapping[str, Any]) -> Image:
    if build := service.get("build"):
        return dockerfile.read(TOP / build["dockerfile"], build.get("target"))
    path = f"/stand-ins:{Path(sys.prefix) / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    return Image({"PATH": path, "HOME": "/tmp"}, "/", 0, 0, [], [])


def _entrypoint(service: Mapping[str, Any]) -> list[str]:
    return ["postgres-entrypoint"] if service["image"].startswith("postgres:") else []


def _probe(service: Mapping[str, Any], image: Image) -> Exec | None:
    check = service.get("healthcheck", {})
    if check.get("disable"):
        return None
    match check.get("test"):
        case ["CMD", *command]:
            return Exec(command)
        case ["CMD-SHELL", line]:
            return Exec(["sh", "-c", line])
    return Exec(image.healthcheck) if image.healthcheck else None


def up(
    machine: Machine, described: Mapping[str, Container], services: Mapping[str, Any]
) -> dict[str, Running]:
    """Start services as `docker compose up --wait` does: each once what it depends on is there."""
    needs = {name: services[name].get("depends_on", {}) for name in described}
    started: dict[str, Running] = {}
    order = TopologicalSorter({name: list(needed) for name, needed in needs.items()})
    order.prepare()
    while order.is_active():
        names = order.get_ready()
        for name in names:
            for needed, how in needs[name].items():
                if how["condition"] == "service_completed_successfully":
                    status = started[needed].ended()
                    assert status == 0, f"{needed}: {started[needed].said}"
                else:
                    started[needed].wait()
            started[name] = machine.start(described[name])
        order.done(*names)
    for name, running in started.items():
        if described[name].probe:
            running.wait()
    return started
