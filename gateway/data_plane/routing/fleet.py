"""The pools of a gateway: one for each model in the catalog that is not retired.

A model gets its pool when the catalog first lists it, launched or not, so that its workers have
proven themselves before the launch. The catalog says what a worker must serve; the providers say
which workers there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from gateway.data_plane.routing.discovery.provider import Provider, follow
from gateway.data_plane.routing.examination import PoolSpec
from gateway.data_plane.routing.router import Router
from gateway.snapshots import Catalog, ModelSnapshot

log = structlog.get_logger()


class Fleet:
    """Keeps a router's pools in step with the catalog and the providers."""

    def __init__(
        self,
        router: Router,
        catalog: Callable[[], Catalog],
        providers: Callable[[str], Sequence[Provider]],
    ) -> None:
        """`providers` returns the providers of one model."""
        self._router = router
        self._catalog = catalog
        self._providers = providers
        self._following: dict[str, asyncio.Task[None]] = {}
        self._seen: Catalog | None = None

    async def refresh(self) -> None:
        """Open, change and close pools to match the catalog, if it changed."""
        catalog = self._catalog()
        if catalog is self._seen:
            return
        known = self._seen.models if self._seen else {}
        offered = {model.id: model for model in catalog.models.values() if model.state != "retired"}
        for name in self._following.keys() - offered.keys():
            await self._end(name)
        for name, model in offered.items():
            if name in self._following and known.get(name) is model:
                continue
            spec, pool = spec_of(model), self._router.pools.get(name)
            if pool is not None:
                pool.expect(spec)
                continue
            pool = self._router.serve(spec)
            task = asyncio.create_task(follow(pool, self._providers(name)))
            task.add_done_callback(_followed)
            self._following[name] = task
        self._seen = catalog

    async def stop(self) -> None:
        """Close every pool."""
        for name in tuple(self._following):
            await self._end(name)
        await self._router.close()

    async def _end(self, name: str) -> None:
        task = self._following.pop(name)
        task.cancel()
        await asyncio.wait([task])
        await self._router.stop_serving(name)


def spec_of(model: ModelSnapshot) -> PoolSpec:
    """Return what the workers of a model must serve."""
    return PoolSpec(
        model=model.id,
        vocabulary_sha256=model.vocabulary_sha256,
        dimensions=frozenset(model.dimensions),
        tokens_max=model.tokens_max,
        golden=model.golden,
    )


def _followed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("discovery ended", exc_info=error)
