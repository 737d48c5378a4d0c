"""The chart of latency: p50 in p95 of the whole, and of each key or model on the same scale.

Percentiles don't add up, so keys and models are not stacked: each has a chart of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.pages.console.usage_chart import (
    Panel,
    Picked,
    UsageChart,
    before_words,
)
from gateway.control_plane.status import latencies
from gateway.control_plane.status.answers import percentile
from gateway.control_plane.status.error_series import Slot
from gateway.control_plane.status.latencies import Latencies, LatencyFilter, Owner
from gateway.control_plane.web.formats import latency
from gateway.control_plane.web.stacked_chart import (
    SERIES_MAX,
    BarTime,
    Series,
    StackedChart,
    stacked,
)

_SHARES = (50, 95)


async def charted(
    connection: AsyncConnection, organization_id: str, picked: Picked, names: Mapping[str, str]
) -> UsageChart:
    """Read and draw it; `names` are those of keys."""
    chosen, earlier = _spans(picked)
    owners = await latencies.by_owner(connection, organization_id, chosen)
    before: Mapping[Owner, Mapping[str, Latencies]] = {"model": {}, "key": {}}
    if picked.split != "none" or picked.key_id or picked.model_id:
        before = await latencies.by_owner(connection, organization_id, earlier)
    if picked.key_id or picked.model_id:
        found = await latencies.by_slot(connection, organization_id, chosen)
        slots, past = found.get("", {}), _sum(before["model"].values())
    else:  # of the organization, which was counted before keys and models were
        slots = await latencies.of_all(connection, organization_id, chosen)
        past = _sum((await latencies.of_all(connection, organization_id, earlier)).values())
    most: list[str] = []
    parts: Mapping[str, Mapping[Slot, Latencies]] = {}
    counts: Mapping[str, Latencies] = {}
    counts_before: Mapping[str, Latencies] = {}
    if picked.split != "none":
        counts, counts_before = owners[picked.split], before[picked.split]
        most = sorted(counts, key=lambda owner: (-sum(counts[owner].values()), owner))[:SERIES_MAX]
        parts = await latencies.by_slot(
            connection, organization_id, chosen, by=picked.split, owners=most
        )
    times = picked.slots()
    drawn, drawn_parts = _percentiles(times, slots), [_percentiles(times, parts[o]) for o in most]
    highest = max(max(one[-1]) for one in (drawn, *drawn_parts))
    bars, whole = list(times.values()), _sum(slots.values())
    return UsageChart(
        "Latency",
        " · ".join(f"p{share} {latency(percentile(whole, share))}" for share in _SHARES),
        _change(picked, whole, past),
        _nested(bars, drawn, whole, highest),
        panels=[
            Panel(
                names.get(owner, owner),
                _change(picked, counts[owner], counts_before.get(owner, {})),
                _nested(bars, values, counts[owner], highest),
            )
            for owner, values in zip(most, drawn_parts, strict=True)
        ],
        percentiles={
            by: {owner: _told(found) for owner, found in some.items()}
            for by, some in owners.items()
        },
    )


def _spans(picked: Picked) -> tuple[LatencyFilter, LatencyFilter]:
    """Return the span, and the one before it."""
    length = timedelta(days=picked.days)
    chosen = LatencyFilter(
        since=picked.since,
        until=picked.now,
        hourly=picked.hourly,
        key_id=picked.key_id or None,
        model_id=picked.model_id or None,
    )
    return chosen, msgspec.structs.replace(
        chosen, since=picked.since - length, until=picked.now - length
    )


def _nested(
    bars: Sequence[BarTime], drawn: Sequence[Sequence[int]], whole: Latencies, highest: int
) -> StackedChart:
    """Draw p50 in p95, on a scale that ends above `highest`; what was not measured is a gap."""
    return stacked(
        bars,
        [
            Series(name=f"p{share}", values=values)
            for share, values in zip(_SHARES, drawn, strict=True)
        ],
        lambda value: latency(value or None),
        mark=lambda value: latency(value) if value else "0",
        nested=_told(whole),
        least=highest,
    )


def _percentiles(times: Iterable[Slot], slots: Mapping[Slot, Latencies]) -> list[list[int]]:
    """Return the percentiles of each bar, by share; 0 means that nothing was measured."""
    counts: list[Mapping[int, int]] = [slots.get(slot, {}) for slot in times]
    return [[percentile(one, share) or 0 for one in counts] for share in _SHARES]


def _told(counts: Latencies) -> list[str]:
    return [latency(percentile(counts, share)) for share in _SHARES]


def _change(picked: Picked, now: Mapping[int, int], then: Mapping[int, int]) -> str:
    p95 = percentile(then, 95)
    return f"p95 was {latency(p95)} in {before_words(picked)}" if now and p95 else ""


def _sum(counts: Iterable[Latencies]) -> Latencies:
    whole = Counter[int]()
    for one in counts:
        whole.update(one)
    return whole
