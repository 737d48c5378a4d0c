"""What operators change under load."""

from __future__ import annotations

from benchmarks.storm.registry import scenario
from benchmarks.storm.storm import Storm
from testing.gateways import MODEL

_LOWER_NANOS = 4
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
