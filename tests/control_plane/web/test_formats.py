"""How amounts and times are written on pages."""

import re
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import pytest

from gateway.control_plane.web import formats

AT = datetime(2026, 11, 28, 19, 8, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("nanos", "written", "exactly"),
    [
        (0, "$0.00", "$0.00"),
        (249_001_836, "$0.25", "$0.249001836"),
        (998_164, "$0.0010", "$0.000998164"),
        (40, "&lt; $0.0001", "$0.00000004"),
        (-40, "&lt; \N{MINUS SIGN}$0.0001", "\N{MINUS SIGN}$0.00000004"),
        (100_000, "$0.0001", "$0.0001"),
        (9_999_999, "$0.0100", "$0.009999999"),
        (-1_234_567_890_000, "\N{MINUS SIGN}$1,234.57", "\N{MINUS SIGN}$1,234.56789"),
    ],
)
def test_an_amount_is_rounded_and_its_title_is_exact(nanos: int, written: str, exactly: str):
    element = formats.dollars(nanos)
    assert re.sub(' value="[^"]+"', "", element) == f'<data title="{exactly}">{written}</data>'
    value = re.search('value="([^"]+)"', element)
    assert value
    assert Fraction(value[1]) * 10**9 == nanos


def test_a_column_has_one_number_of_decimals():
    column = [53_005_800, 398_435_332, -2_000_000_000]
    places = formats.places(column)
    assert [formats.fixed(nanos, places) for nanos in column] == [
        "$0.053005800", "$0.398435332", "\N{MINUS SIGN}$2.000000000",
    ]  # fmt: skip
    assert formats.places([]) == formats.places([10**9]) == 2


def test_a_time_says_its_second_where_one_looks_closer():
    title = 'title="28 Nov 2026, 19:08:05 UTC"'
    start = f'<time datetime="2026-11-28T19:08:05Z" {title}>'
    assert formats.moment(AT) == f"{start}28 Nov 2026, 19:08 UTC</time>"
    assert formats.day(AT) == f"{start}28 Nov 2026</time>"
    assert formats.clock(AT) == f"{start}19:08 UTC</time>"
    assert formats.ago(AT, AT + timedelta(minutes=12)) == f"{start}12 min ago</time>"
    assert formats.ago(AT, AT + timedelta(seconds=2)) == f"{start}now</time>"
    assert formats.day(date(2026, 7, 5)) == '<time datetime="2026-07-05">5 Jul 2026</time>'
