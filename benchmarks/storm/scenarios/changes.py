"""What operators change under load."""

from __future__ import annotations

import json

from benchmarks.storm.registry import scenario
from benchmarks.storm.scenarios.gateways import DRAINING, nothing_is_retried
from benchmarks.storm.storm import Storm
from testing.gateways import MODEL, SECRET

_LOWER_NANOS = 4
_NEW_SECRET = "the secret that comes after, also long enough"  # noqa: S105 - of a test
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
async def the_secret_is_rotated(storm: Storm) -> None:
    """GATEWAY_SECRET is replaced by three rolling restarts: old and new, new and old, new alone.

    Each organization uses its key before the old secret goes. No client notices.
    """
    async with storm.load(), storm.fault():
        await storm.deployment.roll(GATEWAY_SECRET=f"{SECRET},{_NEW_SECRET}")
        await storm.deployment.roll(GATEWAY_SECRET=f"{_NEW_SECRET},{SECRET}")
        await storm.everybody()
        _, said = await storm.deployment.command("secrets", "status", "--json")
        old = [one["can_be_dropped"] for one in json.loads(said) if one["place"] == "second"]
        storm.expect(f"nothing hangs on the old secret: {said}", holds=old == [True])
        await storm.deployment.roll(GATEWAY_SECRET=_NEW_SECRET)
    nothing_is_retried(storm)
