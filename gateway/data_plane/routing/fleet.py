"""Which pools there are, and who may be in them: one for each model that the catalogue offers.

A model gets its pool when the catalogue first shows it, served or not yet, so that its workers
have proven themselves before it is launched. What a worker must be follows the catalogue; which
workers there might be, the providers say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import structlog

from gateway.data_plane.routing.discovery.dns import DnsName
from gateway.data_plane.routing.discovery.provider import Provider, StaticList, follow
from gateway.data_plane.routing.examination import PoolSpec
from gateway.data_plane.routing.router import Router
from gateway.snapshots import Catalog, ModelSnapshot

log = structlog.get_logger()

DNS = "dns+"


class Fleet:
    """Keeps a router's pools as the catalogue and the providers say."""

    def __init__(
        self,
        router: Router,
        catalog: Callable[[], Catalog],
        providers: Callable[[str], Sequence[Provider]],
    ) -> None:
        """`providers` gives those of one model."""
        self._router = router
        self._catalog = catalog
        self._providers = providers
        self._following: dict[str, asyncio.Task[None]] = {}
        self._seen: Catalog | None = None

    async def refresh(self) -> None:
        """Open, change and close pools as the catalogue is now; the same one changes nothing."""
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
    """Say what the workers of a model must be."""
    return PoolSpec(
        model=model.id,
        vocabulary_sha256=model.vocabulary_sha256,
        dimensions=frozenset(model.dimensions),
        tokens_max=model.tokens_max,
        golden=model.golden,
    )


def parse_workers(setting: str) -> dict[str, list[str]]:
    """Read `MODEL=URL MODEL=URL ...` into the addresses of each model. Raises ValueError."""
    found: dict[str, list[str]] = {}
    for word in setting.split():
        model, equals, url = word.partition("=")
        if not (model and equals and url):
            raise ValueError(f"{word!r} is not MODEL=URL")
        found.setdefault(model, []).append(url)
    return found


def provider(url: str) -> Provider:
    """Make the provider of one address: the name of a headless Service, or a worker itself."""
    if not url.startswith(DNS):
        return StaticList([url])
    parts = urlsplit(url)
    if not parts.hostname or not parts.port:
        raise ValueError(f"{url!r} needs a host and a port")
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    scheme = parts.scheme.removeprefix(DNS)
    return DnsName(parts.hostname, parts.port, scheme=scheme, path=path)


def _followed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("discovery ended", exc_info=error)
