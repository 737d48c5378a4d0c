"""docker-compose.yml: read, with the variables of a shell filled in, and run by `containers`."""

import os
import re
import sys
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from testing import dockerfile
from testing.containers import TOP, Container, Exec, Machine, Running
from testing.dockerfile import Image

IMAGES = "GATEWAY_TEST_IMAGES"
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


class Places(NamedTuple):
    """Where what containers are given is on this machine."""

    secrets: Path
    """The files of the secrets."""
    volumes: Path
    """A folder for each named volume is made here."""
    stand_ins: Path
    """An executable for each program that an image of others brings."""
    images: Mapping[str, Path] = {}
    """The root of each image of ours that was built, by its tag; without it, this machine's."""


def built_images() -> dict[str, Path]:
    """Return the images that `make check-images` built and mounted: tag=folder, by spaces."""
    words = os.environ.get(IMAGES, "").split()
    return {tag: Path(folder) for tag, _, folder in (word.partition("=") for word in words)}


def containers(services: Mapping[str, Any], places: Places) -> dict[str, Container]:
    """Describe services as containers, for `Machine`."""
    return {name: _container(name, service, places) for name, service in services.items()}


def _container(name: str, service: Mapping[str, Any], places: Places) -> Container:
    image = _image(service)
    user, group = image.user, image.group
    if "user" in service:
        user, group = map(int, service["user"].split(":"))
    root = places.images.get(service["image"], Path("/"))
    mounts: dict[str, Path] = {}
    if "build" not in service:
        mounts["/stand-ins"] = places.stand_ins
    elif root == Path("/"):
        # what the Dockerfile copies there
        place = image.env["PATH"].partition("/bin")[0]
        mounts = {place: Path(sys.prefix), "/usr/local/bin/healthy": TOP / "docker/healthy"}
    kept: dict[str, Path] = {}
    for volume in service.get("volumes", []):
        source, path = volume.split(":")[:2]
        if source.startswith("./"):
            mounts[path] = TOP / source
        else:  # it has the owner of the image's folder
            kept[path] = places.volumes / source
            kept[path].mkdir(exist_ok=True)
            os.chown(kept[path], user, group)
    return Container(
        name=name,
        command=[*_entrypoint(service), *service.get("command", image.command)],
        env={**image.env, **service.get("environment", {})},
        files={
            f"/run/secrets/{secret}": (places.secrets / secret).read_text()
            for secret in service.get("secrets", [])
        },
        mounts=mounts,
        volumes=kept,
        temporary=service.get("tmpfs", []),
        user=user,
        group=group,
        folder=image.folder,
        root=root,
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
