"""The kill loop's short form: real processes and a real PostgreSQL; the long one is
`python -m benchmarks.chaos_credits`."""

import random

import pytest

from benchmarks import chaos_credits


@pytest.mark.long
@pytest.mark.timeout(300)
def test_twenty_seconds_of_trouble_leave_the_books_in_order():
    assert chaos_credits.run(20, 3, random.SystemRandom().randrange(2**32)) == []
