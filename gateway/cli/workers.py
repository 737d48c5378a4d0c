"""`gateway workers`: list and command the workers of all running gateways."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import rich_click as click

from backends.authentication import WrongKey, authority_of, derive_key, parse_secrets
from backends.protocol import BackendError
from backends.registry import UnknownBackend
from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.back_office import workers
from gateway.control_plane.back_office.workers import WorkerAction
from gateway.control_plane.catalog import catalog
from gateway.control_plane.workers import commands
from gateway.control_plane.workers.commands import WorkerReport
from gateway.control_plane.workers.trust import worker_trust
from gateway.data_plane.routing.discovery.listed import DNS, parse_workers
from gateway.errors import BadRequest, NotFound, Unavailable
from gateway.settings import Settings
from gateway.snapshots import WorkerState
from gateway.storage.database import Database

_DONE_SECONDS = 15.0
_POLL_SECONDS = 0.1
_SLOW = 1.1
"""From here on, a worker is called slower than measured; below, it is only jitter."""


@click.group("workers")
def workers_group() -> None:
    """Workers, as the running gateways see them."""


@workers_group.command("list", epilog="Example: gateway workers list")
@as_json
@asynchronous
async def list_workers(*, as_json: bool) -> None:
    """List the workers of each running gateway."""
    async with opened() as database, database.read() as connection:
        reports = await commands.reports(connection)
        known = (await catalog.snapshot(connection)).models
    _print(reports, as_json=as_json)
    configured = parse_workers(Settings.from_environment().workers)
    for model in () if as_json else sorted(configured.keys() - known.keys()):
        for url in configured[model]:
            say(f"{model}  {url}  unknown model: see gateway models list")


@workers_group.command("check", epilog="Example: gateway workers check http://gpu-1:9000")
@click.argument("url")
@acting_as
@because
@as_json
@asynchronous
async def check(url: str, *, acting: str | None, reason: str, as_json: bool) -> None:
    """Have every gateway examine a worker now, and show the result."""
    before: dict[tuple[str, str], int] = {}

    def examined(report: WorkerReport) -> bool:
        count = report.worker.examinations
        return count > before.setdefault((report.gateway_id, report.model), count)

    await _command(url, "check", examined, acting, reason, as_json=as_json)


@workers_group.command(
    "drain", epilog='Example: gateway workers drain http://gpu-1:9000 --reason "a new driver"'
)
@click.argument("url")
@acting_as
@because
@as_json
@asynchronous
async def drain(url: str, *, acting: str | None, reason: str, as_json: bool) -> None:
    """Stop sending requests to a worker, in all gateways, until it is undrained."""
    await _command(
        url,
        "drain",
        lambda r: r.worker.state is WorkerState.DRAINING,
        acting,
        reason,
        as_json=as_json,
    )


@workers_group.command(
    "undrain",
    epilog='Example: gateway workers undrain http://gpu-1:9000 --reason "it is installed"',
)
@click.argument("url")
@acting_as
@because
@as_json
@asynchronous
async def undrain(url: str, *, acting: str | None, reason: str, as_json: bool) -> None:
    """Put a drained worker back, once it passes its examination."""
    await _command(
        url,
        "undrain",
        lambda r: r.worker.state is not WorkerState.DRAINING,
        acting,
        reason,
        as_json=as_json,
    )


@workers_group.command("pin", epilog="Example: gateway workers pin MODEL http://gpu-1:9000")
@click.argument("model")
@click.argument("url")
@because
@acting_as
@asynchronous
async def pin(model: str, url: str, *, reason: str, acting: str | None) -> None:
    """Pin a trusted worker's answers as the golden vectors of its revision, permanently.

    From then on no other revision of the model is accepted unless it is pinned too. For a worker on
    another machine, URL is the one that its key is made for: workers behind dns+ are pinned by that
    name.
    """
    from gateway.control_plane.back_office import pinning  # noqa: PLC0415 - it asks, and compares

    trust = worker_trust(Settings.from_environment())
    async with opened() as database:
        async with database.read() as connection:
            operator = await operator_of(connection, acting)
        try:
            revision, rows = await pinning.pin(
                database, operator, model, url, reason=reason, trust=trust
            )
        except UnknownBackend as error:
            raise BadRequest(f"{error}.") from None
        except BackendError as error:
            raise Unavailable(f"The worker can't be pinned: {error}.") from None
    say(f"Pinned {rows} golden rows of revision {revision}; each worker must match them.")


@workers_group.command("key", epilog="Example: gateway workers key http://gpu-1:9000")
@click.argument("url")
def key(url: str) -> None:
    """Print the key of the worker at URL, for GATEWAY_WORKER_KEY there.

    URL is the one by which gateways know the worker: in GATEWAY_WORKERS (without dns+), or as it
    announces itself. Only host and port count: http and https have the same key. While the secret
    is rotated, there is a key for each, separated by commas.
    """
    secret = Settings.from_environment().worker_secret
    if not secret:
        raise BadRequest("Set GATEWAY_WORKER_SECRET: keys are made from it.")
    try:
        authority = authority_of(url.removeprefix(DNS))
    except WrongKey as error:
        raise BadRequest(f"{error}.") from None
    keys = (derive_key(one, authority).hex() for one in parse_secrets(secret))
    say(",".join(keys))


async def _command(
    url: str,
    action: WorkerAction,
    done: Callable[[WorkerReport], bool],
    acting: str | None,
    reason: str,
    *,
    as_json: bool,
) -> None:
    """Write an order and wait until every gateway that knows the worker reports it done."""
    async with opened() as database:
        found = await _reports(database, url)
        if not found:
            raise NotFound(f"No running gateway knows a worker {url}; see gateway workers list.")
        for report in found:
            done(report)  # records the state before the order
        async with database.write() as connection:
            operator = await operator_of(connection, acting)
            await workers.command(connection, operator, action, url, reason=reason)
        deadline = time.monotonic() + _DONE_SECONDS
        while not all(done(report) for report in found):
            if time.monotonic() > deadline:
                raise Unavailable(
                    "The order was written, but not every gateway has reported it done."
                )
            await asyncio.sleep(_POLL_SECONDS)
            found = await _reports(database, url)
    _print(found, as_json=as_json)


async def _reports(database: Database, url: str) -> list[WorkerReport]:
    async with database.read() as connection:
        return [report for report in await commands.reports(connection) if report.worker.url == url]


def _print(reports: list[WorkerReport], *, as_json: bool) -> None:
    if as_json:
        show(reports, as_json=True)
        return
    if not reports:
        say("No running gateway reports a worker.")
        return
    now = datetime.now(UTC)
    show([_Row.of(report, now) for report in reports], as_json=False)


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the list."""

    model: str
    worker: str
    state: str
    speed: str
    tokens_per_second: str
    gateway: str
    seen: str
    reason: str

    @classmethod
    def of(cls, report: WorkerReport, now: datetime) -> _Row:
        """Put one gateway's report of a worker into words."""
        worker = report.worker
        is_measured = worker.proved_seconds is not None
        slower = f"{worker.slowdown:.1f} times as slow as measured"
        speed = slower if worker.slowdown >= _SLOW else "as fast as measured"
        return cls(
            model=report.model,
            worker=worker.url,
            state=worker.state.value,
            speed=speed if is_measured else "not measured yet",
            tokens_per_second=f"{worker.tokens_per_second:.0f}" if is_measured else "-",
            gateway=report.gateway_id[-8:],
            seen=f"{max(0, round((now - report.seen_at).total_seconds()))} s ago",
            reason=worker.reason.removeprefix(f"{worker.url}: "),
        )
