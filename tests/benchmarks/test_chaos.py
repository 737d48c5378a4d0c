"""The kill loop in its short form: real processes and a real PostgreSQL.

The long form is `python -m benchmarks.chaos_credits`.
"""

import pytest

from testing.processes import said


@pytest.mark.long
@pytest.mark.timeout(300)
def test_twenty_seconds_of_trouble_leave_the_books_in_order():
    out = said("benchmarks.chaos_credits", "--seconds", "20", "--replicas", "3")
    assert out.endswith("the ledger is correct\n")
