"""What operators change under load."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
from pathlib import Path

from benchmarks.storm.deployment import fleet
from benchmarks.storm.registry import scenario
from benchmarks.storm.scenarios.gateways import DRAINING, nothing_is_retried
from benchmarks.storm.storm import Storm
from testing.certificates import Authority
from testing.gateways import MODEL, SECRET

_LOWER_NANOS = 4
_NEW_SECRET = "the secret that comes after, also long enough"  # noqa: S105 - of a test
_NEXT = "9999_next"
_REVISION = '''"""What a next version may do to tables that every request writes to."""

from alembic import op
from sqlalchemy import Column, Integer

revision = "{revision}"
down_revision = "{newest}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("accounts", "leases", "usage_events", "api_keys"):
        op.add_column(table, Column("next", Integer))
    op.create_index("ix_leases_next", "leases", ["replica_id"])
'''
_CERTIFICATES = 3
_READ_AGAIN_SECONDS = 4.0
"""Workers look at their certificate's files each second or so."""
_KNOWN_SECONDS = 6.0
"""How long after the command the old price may still be charged; catalogs are read every 2 s."""


@scenario("Changes")
async def a_price_is_lowered(storm: Storm) -> None:
    """`gateway models price` halves the price: each request is charged what its answer says."""
    storm.prices_nanos.add(_LOWER_NANOS)
    async with storm.load(), storm.fault():
        status, said = await storm.deployment.command(
            "models", "price", MODEL, "0.004", "--reason", "a storm"
        )
        storm.expect(f"the command succeeds: {said}", holds=status == 0)
        changed = storm.clients.now()
        await storm.last(10)
    later = [
        attempt.cost_nanos == request.tokens * _LOWER_NANOS
        for request, attempt in storm.record.attempts()
        if attempt.served and attempt.began > changed + _KNOWN_SECONDS
    ]
    storm.expect("the new price is charged everywhere", holds=all(later) and bool(later))


@scenario("Changes", settings=DRAINING)
async def the_schema_is_migrated(storm: Storm) -> None:
    """`gateway migrate` of a next version alters the busiest tables beside this version's gateways.

    Then they are replaced by that version, one after the other. No client notices.
    """
    deployment = storm.deployment
    deployment.code = await asyncio.to_thread(_next_version, deployment.folder / "next")
    async with storm.load(), storm.fault():
        status, said = await deployment.command("migrate")
        storm.expect(f"the command succeeds: {said}", holds=status == 0)
        for gateway in deployment.gateways:
            gateway.code = deployment.code
        await deployment.roll()
    nothing_is_retried(storm)


def _next_version(tree: Path) -> Path:
    """Make a copy of this version that has one migration more."""
    for package in ("gateway", "migrations", "backends"):
        shutil.copytree(package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    newest = max(file.stem for file in (tree / "migrations/versions").glob("[0-9]*.py"))
    (tree / f"migrations/versions/{_NEXT}.py").write_text(
        _REVISION.format(revision=_NEXT, newest=newest)
    )
    return tree


@scenario("Changes", settings=DRAINING)
async def the_secret_is_rotated(storm: Storm) -> None:
    """GATEWAY_SECRET is replaced by three rolling restarts: old and new, new and old, new alone.

    Each organization uses its key before the old secret goes. No client notices.
    """
    async with storm.load(), storm.fault():
        await storm.deployment.roll(GATEWAY_SECRET=f"{SECRET}\n{_NEW_SECRET}")
        await storm.deployment.roll(GATEWAY_SECRET=f"{_NEW_SECRET}\n{SECRET}")
        await storm.everybody()
        await storm.last(2)  # keys that were used are written anew each second
        await storm.deployment.command("secrets", "reseal")
        _, said = await storm.deployment.command("secrets", "status", "--json")
        old = [one["can_be_dropped"] for one in json.loads(said) if one["place"] == "second"]
        storm.expect(f"nothing hangs on the old secret: {said}", holds=old == [True])
        await storm.deployment.roll(GATEWAY_SECRET=_NEW_SECRET)
    nothing_is_retried(storm)


@scenario("Changes")
async def the_workers_get_new_certificates(storm: Storm) -> None:
    """Workers speak TLS, and get a new certificate three times, in the files that they were given.

    Nothing is restarted. No client notices.
    """
    deployment = storm.deployment
    authority = Authority(deployment.folder)
    files = authority.certify("127.0.0.1")
    secured = fleet("--tls-cert", str(files.cert), "--tls-key", str(files.key))
    deployment.stack.callback(secured.end)
    await asyncio.gather(*(worker.start() for worker in secured.workers))
    await deployment.restart_gateways(
        GATEWAY_WORKERS=" ".join(f"{MODEL}={worker.url}" for worker in secured.workers),
        GATEWAY_WORKER_CA=str(authority.path),
    )
    used = set()
    async with storm.load(), storm.fault():
        for _ in range(_CERTIFICATES):
            authority.certify("127.0.0.1")
            await asyncio.sleep(_READ_AGAIN_SECONDS)
            for worker in secured.workers:
                shown = await asyncio.to_thread(
                    ssl.get_server_certificate, ("127.0.0.1", worker.port)
                )
                used.add(shown)
    storm.expect(f"{_CERTIFICATES} certificates, not {len(used)}", holds=len(used) == _CERTIFICATES)
    nothing_is_retried(storm)
