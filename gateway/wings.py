"""Wings: what plugs into the application, and on which plane it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from gateway.errors import BadRequest, GatewayError, Unauthorized, Unavailable

if TYPE_CHECKING:  # commands read of jobs and operations without a web framework
    from litestar.di import Provide
    from litestar.types import ControllerRouterHandler

CAN_FAIL = (BadRequest, Unauthorized, Unavailable)
"""What an operation with a key can answer at least."""

Plane = Literal["data", "control", "both"]
"""The processes that a wing runs in; GATEWAY_ROLE says what a process is."""


JOB_SECONDS = 60.0
"""How long a run of most jobs may take."""


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
    wake: asyncio.Event | None = None
    """Set it to have the job run at once, instead of at its next turn."""
    timeout_seconds: float = JOB_SECONDS
    """A run that takes longer is canceled."""


class Operation(NamedTuple):
    """One method of one path."""

    path: str
    method: str
    operation_id: str
    summary: str
    answer: msgspec.Struct
    """An example of the answer; its class is the schema. Vectors are shortened."""
    parameters: Sequence[Mapping[str, Any]] = ()
    errors: Sequence[type[GatewayError]] = CAN_FAIL
    headers: Mapping[str, str] = {}
    """What a good answer carries, besides the request's id."""
    key: Literal["required", "optional", "none"] = "required"
    body: Mapping[str, Any] | None = None
    """An example of an `EmbeddingsRequest`, for what takes one."""


def parameter(
    name: str, description: str, schema: Mapping[str, Any], *, place: str = "query", **more: Any
) -> dict[str, Any]:
    """Describe a parameter of an operation."""
    return {"name": name, "in": place, "description": description, "schema": schema, **more}
