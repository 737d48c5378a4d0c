"""One gateway process: its application, and its parts, started and stopped in order."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from litestar import Litestar, Router
from litestar.exceptions import HTTPException
from litestar.types import ControllerRouterHandler, Receive, Scope, Send

from gateway.app.admin_listener import listening, parted
from gateway.app.core import Core, partition, warn_of_unknown_models
from gateway.app.errors import answering
from gateway.app.hot_path import DataPlane, bounds, endpoints
from gateway.app.jobs import Jobs
from gateway.app.redis_metrics import RedisMetrics
from gateway.app.request_log import logged
from gateway.app.trace_metrics import TraceMetrics
from gateway.control_plane.secrets import record
from gateway.control_plane.web.headers import answer_head
from gateway.data_plane.api.door import Door
from gateway.data_plane.api.metrics import DoorMetrics
from gateway.observability.access import access_log
from gateway.settings import Role
from gateway.storage import schema
from gateway.storage.clock import follow
from gateway.wings import Plane, Wing

if TYPE_CHECKING:  # a process of the data plane alone imports neither
    from gateway.app.control_plane import ControlPlane
    from gateway.app.services import Services, Web

log = structlog.get_logger()

_GC_THRESHOLDS = (5_000, 10, 10)
"""Python's 700 starts a collection whenever a few more requests are in flight than before, and they
leave nothing to collect. 5,000 young objects take 2 ms, and everything not frozen as long."""


class Process:
    """All parts, and the application that serves the planes of GATEWAY_ROLE.

    This is what the server runs: an ASGI application, with the `door` that `FrontDoor` looks for.
    """

    def __init__(
        self,
        core: Core,
        data: DataPlane,
        control: ControlPlane | None,
        wings: Sequence[Wing],
    ) -> None:
        """`control` is None in a process that serves only the data plane."""
        self.core = core
        self.data = data
        self._control = control
        running = [wing for wing in wings if runs(core.settings.role, wing.plane)]
        self.jobs = [job for wing in running for job in wing.jobs]
        errors = answering(control.error_page if control else None)

        @asynccontextmanager
        async def lifespan(_app: Litestar) -> AsyncIterator[None]:
            async with self.running():
                yield

        self.app = Litestar(
            route_handlers=[handler for wing in running for handler in _mounted(wing)],
            lifespan=[lifespan],
            exception_handlers={HTTPException: errors, Exception: errors},
            request_max_body_size=core.settings.body_bytes_max,
            openapi_config=None,
            logging_config=None,
        )
        is_data = runs(core.settings.role, "data")
        self.door = Door(endpoints(data, core) if is_data else [], bounds(core.settings))
        data.watched.append(DoorMetrics(self.door, data.hot_path.in_flight))
        data.watched.append(TraceMetrics(core.tracing))
        if control:
            from gateway.app.control_metrics import ControlMetrics  # noqa: PLC0415 - only where it runs

            data.watched.append(ControlMetrics(control.services, core.demand_counts))
        if core.presence and core.peers and data.announcements:
            about = {"keys": data.announcements, "workers": core.peers.announcements}
            data.watched.append(RedisMetrics(about, core.presence))
        self.app.asgi_handler = logged(self.app.asgi_handler, access_log(core.settings.access_log))
        self.app.asgi_handler = answer_head(self.app.asgi_handler)
        self.app.asgi_handler = parted(self.app.asgi_handler, core.settings)

    @property
    def services(self) -> Services:
        """The domain objects of the control plane, which this process must run."""
        assert self._control, "this process serves the data plane alone"
        return self._control.services

    @property
    def web(self) -> Web:
        """The web kit of its pages."""
        assert self._control, "this process serves the data plane alone"
        return self._control.web

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that is not on a hot path."""
        await self.app(scope, receive, send)

    def drain(self) -> None:
        """Leave the load balancer: not ready, and each connection closes at its next answer."""
        self.data.draining.set()
        self.door.retire()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start everything, and stop it in the reverse order."""
        core, data = self.core, self.data
        async with AsyncExitStack() as stack:
            if core.tracing:
                stack.push_async_callback(asyncio.to_thread, core.tracing.spans.close)
            stack.push_async_callback(core.database.close)
            stack.callback(data.counting.close)
            await schema.check(core.database)
            await record.register(core.database, core.settings.keyring)
            await follow(core.database)
            await core.catalog.refresh()
            warn_of_unknown_models(core)
            await self._read_for_pages()
            if data.announcements:
                await data.announcements.start()
                stack.push_async_callback(data.announcements.stop)
            await self._partition()
            stack.push_async_callback(data.ledger.close)
            stack.push_async_callback(data.key_store.close)
            stack.push_async_callback(data.authenticator.close)
            if runs(core.settings.role, "data"):
                await data.organization_limits.refresh()
                await data.authenticator.refresh()
                await data.credit.start()
                stack.push_async_callback(data.credit.close)
            for kept in (core.demand_counts, core.asks, data.answered, data.request_log):
                stack.push_async_callback(kept.flush)
            if core.presence:
                stack.push_async_callback(core.presence.stop)
            if core.peers:
                await core.peers.start()
                stack.push_async_callback(core.peers.stop)
            if core.siblings:
                await core.siblings.start()
                stack.push_async_callback(core.siblings.stop)
            await core.fleet.refresh()
            stack.push_async_callback(core.fleet.stop)
            if self._control:
                stack.push_async_callback(self._control.close)
            stack.push_async_callback(core.desk.stop)
            jobs = Jobs(self.jobs)
            await jobs.start()
            stack.push_async_callback(jobs.stop)
            # objects that live as long as the process are kept out of garbage collection: a full
            # collection over them stops the event loop for a tenth of a second and more
            gc.freeze()
            stack.callback(gc.unfreeze)
            gc.set_threshold(*_GC_THRESHOLDS)
            if core.settings.admin_port:
                await stack.enter_async_context(listening(self.app, core.settings))
            yield

    async def _read_for_pages(self) -> None:
        await self.core.demand_counts.refresh()
        await self.core.prices_to_come.refresh()
        if self._control:
            await self.services.performances.refresh()
            await self.services.api_health.refresh()

    async def _partition(self) -> None:
        """Make partitions. A failure doesn't stop the start: the job tries again."""
        try:
            await partition(self.core)
        except Exception as error:  # noqa: BLE001 - usage without a partition is charged too
            reason = f"{type(error).__name__}: {error}"
            log.error("partitions can't be made yet", reason=reason)


def runs(role: Role, plane: Plane) -> bool:
    """Tell whether a process of a role runs a plane."""
    return role == "all" or plane in ("both", role)


def _mounted(wing: Wing) -> Sequence[ControllerRouterHandler]:
    """Return a wing's routes, on a router only if it gives them something: routers copy them."""
    if not wing.dependencies:
        return wing.handlers
    return [Router("/", route_handlers=wing.handlers, dependencies=dict(wing.dependencies))]
