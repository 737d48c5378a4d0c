"""A body's structure is bounded before it is decoded, in steps that are short whatever is in it."""

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.data_plane.api import structure
from gateway.data_plane.api.structure import Excessive, HalfCharacter, Shape, Twice, bound, walk

SHAPE = Shape(2_048, 300_000)
MEGABYTE = 1_000_000
NAMES = {"model", "input"}


@pytest.mark.parametrize(
    "input_",
    [
        b'"%b"' % (b"a" * MEGABYTE),
        b'"%b"' % (b'[{,\\"' * 200_000),  # all of it inside of a string
        b'"%b"' % (b"\\u4e2d" * 200_000),
        b'"%b"' % (b"\\ud83d\\ude00" * 100_000),
        b'"%b"' % (b"\\\\" * 500_000),
        b"[%b]" % b",".join([b"12345"] * 300_000),
        b"[%b]" % b",".join([b'"some text"'] * 2_048),
        b"[%b]" % b",".join([b"[%b]" % b",".join([b"1"] * 140)] * 2_048),
    ],
)
def test_what_a_request_may_hold_passes(input_: bytes):
    body = b'{"model":"m","input":%b,"dimensions":384,"x":{"y":[1,"2"]}}' % input_
    bound(body, SHAPE)
    walk(bytearray(body), SHAPE, NAMES)


@pytest.mark.parametrize(
    "body",
    [
        b'{"input":[' + b"[]," * MEGABYTE,
        b'{"input":[' + b'"",' * MEGABYTE,
        b'{"input":[' + b'""' * MEGABYTE,
        b'{"input":[' + b"{}," * MEGABYTE + b"]}",
        b'{"input":[' + b"1," * MEGABYTE + b"1]}",
        b'{"x":"' + b"[" * 9_999 + b'","input":' + b"[" * 99_999,
        b'{"x":' + b'{"x":' * 99_999,
    ],
)
def test_what_none_may_hold_is_refused(body: bytes):
    with pytest.raises(Excessive):
        bound(body, SHAPE)
    with pytest.raises(Excessive):
        walk(body, SHAPE, NAMES)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('{"input":1,"model":2,"input":3}', "input"),
        ('{"model":1,"x":{"model":2,"y":[{"input":1},{"input":2}]}}', None),
        ('{"x":[{"input":1,"y":"input","input" : 2}]}', "input"),
        ('{"x":1,"x":2}', None),
        ('{"x":{"model":1},"model":2}', None),
        ('{"model":1,"x":{},"model":2}', "model"),
        ('{"input":1,"inp\\u0075t":2}', "input"),
        ('{"input":"\\"input\\":\\\\","model":"input"}', None),
        ('{"input":1}]}]}{"model":1,"model":2}', "model"),  # no JSON, which the decoder tells
        ('{"' + "a" * 70_000 + '":1,"model":2,"model":3}', "model"),
        ('{"input":[{"\\x":1,"input":2}],"input":3}', "input"),
        ('{"input":' + '"a\\\\"' * 1 + ',"model":"\\\\\\"","model":3}', "model"),
    ],
)
def test_a_key_that_stands_twice_is_found_where_it_is_one(body: str, name: str | None):
    if name is None:
        walk(body.encode(), SHAPE, NAMES)
        return
    with pytest.raises(Twice) as found:
        walk(body.encode(), SHAPE, NAMES)
    assert found.value.args == (name,)


@pytest.mark.parametrize("end", ["\\", "\\ud8", "\\ud83d"])
def test_what_ends_in_an_escape_is_for_the_decoder_to_refuse(end: str):
    walk(f'{{"input":"{end}'.encode(), SHAPE, ())


def test_half_a_character_is_told_with_the_key_of_the_whole_body_alone():
    body = b'{"input":[{"model":[{"user":"\\ud800 "}]}]}'
    with pytest.raises(HalfCharacter) as found:
        walk(body, SHAPE, ())
    assert found.value.args == ("input",)


@pytest.mark.parametrize(
    "half", ["\\ud800", "\\uDFFF", "\\ud83d x", "\\ud83d\\n", "\\ud83d\\ud83d"]
)
@pytest.mark.parametrize("before", [0, 65_519, 65_524, 65_530, 65_536])
def test_half_a_character_is_found_with_the_key_above_it(half: str, before: int):
    body = f'{{"x":"\\ud83d\\ude00","input":["a","{"b" * before}{half}"]}}'
    with pytest.raises(HalfCharacter) as found:
        walk(body.encode(), SHAPE, ())
    assert found.value.args == ("input",)


class Watched(bytearray):
    """A body that notes how much of it one call looks at: what is copied, and what is matched."""

    longest = 0

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        if isinstance(at, slice):
            Watched.longest = max(Watched.longest, len(found))
        return found


@pytest.mark.parametrize(
    "body",
    [
        b'{"input":[' + b"1," * 250_000 + b"1]}",
        b'{"input":"' + b"\\u4e2d" * 100_000 + b'"}',
        b'{"input":"' + b"a" * 600_000 + b'"}',
        b'{"' + b"a" * 600_000 + b'":1}',
        b'{"input":' + b" " * 600_000 + b"1}",
    ],
    ids=["numbers", "escapes", "a text", "a key", "spaces"],
)
def test_no_step_looks_at_more_than_its_bytes(body: bytes, monkeypatch: pytest.MonkeyPatch):
    steps: list[int] = []

    class Sound:
        def match(self, body_: bytearray, at: int, stop: int) -> re.Match[bytes] | None:
            steps.append(stop - at)
            return structure_sound.match(body_, at, stop)

    structure_sound = structure._SOUND
    monkeypatch.setattr(structure, "_SOUND", Sound())
    monkeypatch.setattr(Watched, "longest", 0)
    walk(Watched(body), SHAPE, NAMES)
    assert max(steps) <= structure._STEP_BYTES
    assert Watched.longest <= structure._STEP_BYTES


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.booleans(),
    st.sampled_from([24, 64, 65_536]),
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_sound_json_is_walked_to_its_end(value: object, ascii_: bool, step: int):
    body = json.dumps({"x": value}, ensure_ascii=ascii_).encode("utf-8", "surrogatepass")
    before, structure._STEP_BYTES = structure._STEP_BYTES, step
    try:
        walk(body, SHAPE, ())
    finally:
        structure._STEP_BYTES = before
