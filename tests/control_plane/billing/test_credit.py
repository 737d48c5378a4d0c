"""What operators may grant and take back."""

import pytest

from gateway.control_plane.billing import credit
from gateway.errors import BadRequest
from gateway.identifiers import new_id
from gateway.storage.tables import NANOS_MAX
from testing.gateways import Ledger

pytestmark = pytest.mark.sqlite


@pytest.mark.parametrize("amount_nanos", [0, -1, NANOS_MAX + 1])
async def test_nothing_and_less_and_more_than_all_is_no_amount(ledger: Ledger, amount_nanos: int):
    async with ledger.database.write() as connection:
        with pytest.raises(BadRequest, match="An amount must be"):
            await credit.grant(connection, ledger.organization_id, amount_nanos)
        with pytest.raises(BadRequest, match="An amount must be"):
            await credit.take(
                connection, ledger.organization_id, new_id(), amount_nanos, reason="a test"
            )
    assert (await ledger.balance()).lots == []
