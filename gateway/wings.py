"""Wings: what plugs into the application, and on which plane it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import msgspec
from litestar.di import Provide
from litestar.types import ControllerRouterHandler

Plane = Literal["data", "control", "both"]
"""The processes that a wing runs in; GATEWAY_ROLE says what a process is."""


class Wing(NamedTuple):
    """One part of the service: routes, what their handlers are given, and background jobs."""

    plane: Plane
    handlers: Sequence[ControllerRouterHandler] = ()
    dependencies: Mapping[str, Provide] = MappingProxyType({})
    jobs: Sequence[Job] = ()
    operations: Sequence[Operation] = ()
    """What it adds to /openapi.json."""


class Job(NamedTuple):
    """Something to run again and again, and how often."""

    name: str
    seconds: float
    run: Callable[[], Awaitable[object]]


class Operation(NamedTuple):
    """An operation of the API, as /openapi.json describes it."""

    path: str
    method: str
    operation_id: str
    summary: str
    schema: type[msgspec.Struct]
    parameters: tuple[dict[str, Any], ...] = ()
    public: bool = False
    """Whether it can be called without a key."""
