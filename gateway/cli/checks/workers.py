"""The workers in GATEWAY_WORKERS: they can be reached, and serve their model's pinned revision."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit

from sqlalchemy.exc import SQLAlchemyError

from backends import registry
from backends.adapters.trust import Trust
from backends.protocol import BackendError
from gateway.cli.checks.database import is_missing
from gateway.cli.checks.findings import QUESTION_SECONDS, Finding, error, ok, warning
from gateway.control_plane.catalog import catalog
from gateway.control_plane.workers.trust import worker_trust
from gateway.data_plane.routing.discovery.dns import system_resolve
from gateway.data_plane.routing.discovery.listed import DNS, parse_workers
from gateway.data_plane.routing.examination import Examiner
from gateway.data_plane.routing.fleet import spec_of
from gateway.data_plane.routing.quarantine import NotReady
from gateway.settings import Settings
from gateway.snapshots import ModelSnapshot
from gateway.storage.database import Database, DatabaseAway

ABOUT = "workers"
_WORKER_SECONDS = QUESTION_SECONDS - 1
"""Time for one worker: all are asked at once, after the catalog was read."""


async def workers(settings: Settings) -> AsyncIterator[Finding]:
    """Shake hands with all workers at once. Raises ValueError for an invalid list."""
    listed = parse_workers(settings.workers)
    if not listed:
        if settings.worker_secret:
            yield ok(ABOUT, "none is listed; they register themselves")
        else:
            yield warning(ABOUT, "none: neither GATEWAY_WORKERS nor GATEWAY_WORKER_SECRET is set")
        return
    models = await _models(settings)
    trust = worker_trust(settings)
    asking = [
        asyncio.create_task(_address(model, url, trust, models))
        for model, urls in listed.items()
        for url in urls
    ]
    for findings in await asyncio.gather(*asking):
        for finding in findings:
            yield finding


async def _models(settings: Settings) -> Mapping[str, ModelSnapshot] | None:
    """Return the catalog; None where the database, which has findings of its own, can't be read."""
    database = Database(settings.database_url, connections_max=1)
    if is_missing(database):
        return None
    try:
        async with database.read() as connection:
            return (await catalog.snapshot(connection)).models
    except (DatabaseAway, SQLAlchemyError, OSError):
        return None
    finally:
        await database.close()


async def _address(
    model: str, url: str, trust: Trust, models: Mapping[str, ModelSnapshot] | None
) -> list[Finding]:
    """Ask every worker behind an address."""
    if models is not None and model not in models:
        return [warning(ABOUT, f"{url}: the catalog has no model {model}")]
    known = models[model] if models else None
    if not url.startswith(DNS):
        return [await _worker(url, "", trust, known)]
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    try:
        async with asyncio.timeout(_WORKER_SECONDS):
            addresses = await system_resolve(parts.hostname, parts.port)
    except OSError as failure:
        return [error(ABOUT, f"{url}: its name can't be looked up: {failure or 'no answer'}")]
    if not addresses:
        is_live = known is not None and known.state == "live"
        say = error if is_live else warning
        return [say(ABOUT, f"{url}: no worker of {model} is behind this name")]
    name = f"{parts.hostname}:{parts.port}"
    each = [
        f"{parts.scheme.removeprefix(DNS)}://{f'[{host}]' if ':' in host else host}:{parts.port}"
        for host in sorted(addresses)
    ]
    return list(await asyncio.gather(*(_worker(one, name, trust, known) for one in each)))


async def _worker(url: str, name: str, trust: Trust, known: ModelSnapshot | None) -> Finding:
    backend = registry.connect(url, trust, name=name)
    try:
        async with asyncio.timeout(_WORKER_SECONDS):
            if known is None:
                info = await backend.info(timeout_seconds=_WORKER_SECONDS)
                return ok(ABOUT, f"{url} is reached: {info.model}")
            examiner = Examiner(spec_of(known))
            info = await examiner.handshake(backend, timeout_seconds=_WORKER_SECONDS)
    except NotReady as failure:
        return warning(ABOUT, f"{failure}")
    except BackendError as failure:
        return error(ABOUT, f"{failure}")
    except TimeoutError:
        return error(ABOUT, f"{url}: no answer within {_WORKER_SECONDS:.0f} s")
    finally:
        await backend.close()
    told = f"{url} is reached: {known.id}, revision {info.revision}"
    if info.revision in known.golden:
        return ok(ABOUT, f"{told}, which is pinned")
    return warning(ABOUT, f"{told}, which is not pinned: see `gateway workers pin`")
