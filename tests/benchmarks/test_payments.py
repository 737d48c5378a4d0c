"""The storm of events in its short form: two real gateways, killed, and a real PostgreSQL.

The long form is `python -m benchmarks.payments`.
"""

import pytest

from testing.processes import said


@pytest.mark.long
@pytest.mark.timeout(400)
def test_every_balance_is_exact_after_a_storm_of_events():
    out = said("benchmarks.payments", "--payments", "40", "--events", "600", "--kills", "2")
    assert out.endswith("every balance is exact\n"), out
