"""Stacked charts: what is drawn where, what is said of it, and hues that every eye tells apart."""

import re
from itertools import combinations
from pathlib import Path

import pytest

from gateway.control_plane import web
from gateway.control_plane.web.stacked_chart import SERIES_MAX, BarTime, Series, stacked

_STYLE = (Path(web.__file__).parent / "static" / "site.css").read_text()
# Machado, Oliveira and Fernandes 2009, of full severity, on linear light
_EYES = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
}  # fmt: skip


def slots(count: int) -> list[BarTime]:
    return [BarTime(label=str(n), title=f"day {n}", goes_on=n == count - 1) for n in range(count)]


def test_parts_stand_on_one_another_and_what_is_there_is_seen():
    chart = stacked(
        slots(3),
        [Series(name="a", values=[30, 0, 1]), Series(name="b", values=[10, 0, 39], is_rest=True)],
        str,
    )
    low, high = chart.columns[0].parts
    assert low.y + low.height == chart.height
    assert high.y + high.height == pytest.approx(low.y)
    assert high.y == pytest.approx(0)
    assert (low.hue, high.hue) == (1, SERIES_MAX + 1)
    assert chart.columns[1].parts == []
    assert chart.columns[2].parts[0].height >= 2
    assert [column.goes_on for column in chart.columns] == [False, False, True]
    assert (chart.columns[0].values, chart.columns[0].total) == (["30", "10"], "40")
    assert [(one.name, one.total) for one in chart.series] == [("a", "31"), ("b", "49")]
    assert not chart.is_empty


def test_the_bars_of_a_hue_are_one_shape():
    series = [Series(name=str(n), values=[n + 1] * 90) for n in range(3)]
    chart = stacked(slots(90), series, str)
    shapes = [(one.hue, one.goes_on, one.path.count("M")) for one in chart.shapes]
    assert shapes == [(hue, last, 1 if last else 89) for hue in (1, 2, 3) for last in (False, True)]
    last = chart.columns[-1]
    assert chart.shapes[1].path == (
        f"M{last.x:g} {last.parts[0].y:g}h{last.width:g}v{last.parts[0].height:g}h-{last.width:g}z"
    )


def test_each_bar_says_its_numbers_in_its_title_and_in_a_row():
    two = [Series(name="a", values=[1, 0, 2]), Series(name="b", values=[3, 0, 0])]
    chart = stacked(slots(3), two, str)
    assert re.findall(r'x="(.*?)".*<title>(.*?)</title>', chart.reach) == [
        ("0.0", "day 0: 4"),
        ("480.0", "day 2: 2 so far"),
    ]
    assert re.findall(r'<tr data-slot="(.)"><th scope="row">(.*?)</th>(.*)</tr>', chart.rows) == [
        ("2", "day 2 (so far)", cells("2", "0", "2")),
        ("0", "day 0", cells("1", "3", "4")),
    ]
    assert stacked(slots(1), [Series(name="a", values=[7])], str).rows.count("<td") == 1


def cells(*numbers: str) -> str:
    return "".join(f'<td class="number">{one}</td>' for one in numbers)


def test_words_in_a_bar_are_text():
    tag = [BarTime(label="<b>", title="<b>")]
    two = [Series(name="a", values=[1]), Series(name="b", values=[1])]
    chart = stacked(tag, two, lambda value: f"<i>{value}")
    assert "&lt;b&gt;: &lt;i&gt;2" in chart.reach
    assert cells("&lt;i&gt;1", "&lt;i&gt;1", "&lt;i&gt;2") in chart.rows
    assert not re.search("<[bi]>", chart.reach + chart.rows)


def test_what_is_nested_is_no_sum():
    chart = stacked(
        slots(1), [Series(name="p50", values=[30]), Series(name="p95", values=[40])], str,
        nested=["30", "40"],
    )  # fmt: skip
    assert chart.marks[0] == "40"
    assert [part.height for part in chart.columns[0].parts] == [135, 45]
    assert chart.columns[0].values == ["30", "40"]
    assert chart.rows.count("<td") == 2


def test_a_scale_is_no_finer_than_what_is_read_off_it():
    for spent in (0, 24):
        chart = stacked(slots(1), [Series(name="Cost", values=[spent])], least=200_000)
        assert chart.marks == ["$0.0002", "$0.0001", "$0.00"]


def test_nothing_is_no_chart():
    assert stacked(slots(2), [Series(name="a", values=[0, 0])], str).is_empty
    assert stacked([], [Series(name="a", values=[])], str).is_empty


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hues_stand_out_from_the_page_and_from_one_another(scheme: str):
    hues = [_color(f"chart-{n}", scheme) for n in range(1, SERIES_MAX + 2)]
    for surface in ("surface", "bg", "sunken"):
        page = _luminance(_color(surface, scheme))
        for hue in hues:
            one = _luminance(hue)
            assert (max(one, page) + 0.05) / (min(one, page) + 0.05) >= 3, (surface, hue)
    for eye, rows in _EYES.items():
        seen = [tuple(sum(w * c for w, c in zip(row, hue, strict=True)) for row in rows)
                for hue in hues]  # fmt: skip
        for one, other in combinations(seen, 2):
            assert _apart(one, other) >= 0.09, (eye, one, other)


def _color(name: str, scheme: str) -> tuple[float, ...]:
    """Return a token's color, in linear light."""
    found = re.search(rf"--{name}: light-dark\(#(\w{{6}}), #(\w{{6}})\)", _STYLE)
    assert found, name
    text = found[1 if scheme == "light" else 2]
    channels = (int(text[at : at + 2], 16) / 255 for at in (0, 2, 4))
    return tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)


def _luminance(color: tuple[float, ...]) -> float:
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), color, strict=True))


def _apart(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Return how far apart two colors look: their distance in OKLab."""
    return float(sum((a - b) ** 2 for a, b in zip(_oklab(one), _oklab(other), strict=True)) ** 0.5)


def _oklab(color: tuple[float, ...]) -> tuple[float, ...]:
    r, g, b = (max(c, 0.0) for c in color)
    cones = (
        0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b,
        0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b,
        0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b,
    )
    x, y, z = (c ** (1 / 3) for c in cones)
    return (
        0.2104542553 * x + 0.7936177850 * y - 0.0040720468 * z,
        1.9779984951 * x - 2.4285922050 * y + 0.4505937099 * z,
        0.0259040371 * x + 0.7827717662 * y - 0.8086757660 * z,
    )
