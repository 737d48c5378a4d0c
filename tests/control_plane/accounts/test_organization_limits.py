"""An organization's own number of requests at once: who sets it, and who reads it."""

from collections.abc import Mapping

import pytest

from gateway.control_plane.accounts import organizations
from gateway.control_plane.accounts.organization_limits import LimitOutOfBounds, OrganizationLimits
from gateway.control_plane.back_office.limits import limit_requests
from gateway.control_plane.operators.operators import NotPermitted
from gateway.storage.database import Database
from testing.operators import make_operator, trail_of


async def test_it_is_set_read_by_each_process_and_removed(database: Database):
    mia = await make_operator(database, "mia@example.com", "finance")
    sue = await make_operator(database, "sue@example.com", "support")
    async with database.write() as connection:
        acme = (await organizations.create(connection, "acme")).id
    seen: list[Mapping[str, int]] = []
    process = OrganizationLimits(database, seen.append)
    for most in (500, 600, None):
        async with database.write() as connection:
            await limit_requests(connection, mia, acme, most, reason="a launch")
        await process.refresh()
    assert seen == [{acme: 500}, {acme: 600}, {}]
    told = [(one.before, one.after) for one in await trail_of(database, "requests.limited")]
    assert told == [
        ('{"in_flight_max":null}', '{"in_flight_max":500}'),
        ('{"in_flight_max":500}', '{"in_flight_max":600}'),
        ('{"in_flight_max":600}', '{"in_flight_max":null}'),
    ]
    for operator, most, error in ((sue, 9, NotPermitted), (mia, 0, LimitOutOfBounds)):
        with pytest.raises(error):
            async with database.write() as connection:
                await limit_requests(connection, operator, acme, most, reason="x")
