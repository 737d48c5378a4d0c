"""Walks the structure of a JSON body without building it: is it too large, and is it sound?

A decoder makes an object for each empty list, and can't be interrupted. So a large body is counted
before it is decoded: what is outside its strings is bounded by what a request may hold. The walk
also finds what a decoder does not report: duplicate keys, and where half a character is. It
proceeds in short steps, whatever the body.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import msgspec

UNCOUNTED_BYTES_MAX = 65_536
"""A smaller body is decoded directly, in a few milliseconds at most."""
_SPARE = 1_024
"""Strings, lists and objects besides the inputs, for example in unknown fields."""
_STEP_BYTES = 65_536
_PAIR_BYTES = len(b"\\ud83d\\ude00")

# a run of characters, a pair of surrogates, or any other escape: stops at a quote or half a pair
_SOUND = re.compile(
    rb'(?:[^"\\]++|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\(?!u[dD][89a-fA-F]).)*+', re.DOTALL
)
_BRACKET = re.compile(rb"[\[\]{}]")
_COLON = re.compile(rb"[ \t\r\n]*+:")


class Shape(msgspec.Struct, frozen=True):
    """The most that a body may hold outside of its strings."""

    inputs_max: int
    numbers_max: int

    @property
    def strings_max(self) -> int:
        """Strings, keys included; and as many lists and objects."""
        return self.inputs_max + _SPARE

    @property
    def commas_max(self) -> int:
        """Commas, one for each number or string in a list."""
        return self.numbers_max + self.strings_max


class Excessive(Exception):
    """The body holds more than any request may."""


class Twice(Exception):
    """A key appears twice in an object; the argument is its name."""


class HalfCharacter(Exception):
    """A string holds a lone surrogate; the argument is the top-level key that it is under."""


def bound(body: bytes | bytearray, shape: Shape) -> None:
    """Raise Excessive for a large body with too much structure.

    Counting characters, including those in strings, clears most bodies; the others are walked.
    """
    if len(body) <= UNCOUNTED_BYTES_MAX:
        return
    few = (
        body.count(b'"') <= 2 * shape.strings_max
        and body.count(b"[") + body.count(b"{") <= shape.strings_max
        and body.count(b",") <= shape.commas_max
    )
    if not few:
        _Walk(body, shape, ()).go()


def walk(body: bytes | bytearray, shape: Shape, names: Collection[str]) -> None:
    """Raise Twice for the first of these keys that an object holds twice; else as below.

    Raises HalfCharacter and Excessive. The decoder refuses what is not JSON at all.
    """
    _Walk(body, shape, names).go()


class _Walk:
    """One walk through a body."""

    def __init__(self, body: bytes | bytearray, shape: Shape, names: Collection[str]) -> None:
        self._body = body
        self._shape = shape
        self._names = names
        self._strings = self._opened = self._commas = 0
        self._keys: list[set[str]] = [set()]
        """For each open list and object, the names seen; the outermost is neither."""
        self._top = ""

    def go(self) -> None:
        at = 0
        while (quote := self._body.find(b'"', at)) >= 0:
            self._pass(at, quote)
            at = self._string(quote)
        self._pass(at, len(self._body))

    def _pass(self, start: int, stop: int) -> None:
        """Count what is between two strings."""
        shape = self._shape
        for begin in range(start, stop, _STEP_BYTES):
            part = self._body[begin : min(begin + _STEP_BYTES, stop)]
            self._commas += part.count(b",")
            self._opened += part.count(b"[") + part.count(b"{")
            if self._commas > shape.commas_max or self._opened > shape.strings_max:
                raise Excessive
            for bracket in _BRACKET.finditer(part):
                if bracket[0] in b"[{":
                    self._keys.append(set())
                elif len(self._keys) > 1:
                    self._keys.pop()

    def _string(self, quote: int) -> int:
        """Look at the string that begins at a quote; returns where it ends."""
        self._strings += 1
        if self._strings > self._shape.strings_max:
            raise Excessive
        end = quote + 1
        for step in self._steps(end):
            end = step
        if self._body[end : end + 1] == b"\\" and len(self._body) - end >= len(b'\\ud83d"'):
            raise HalfCharacter(self._top)
        # a longer name is none of ours, and isn't copied
        if end - quote < _STEP_BYTES and _COLON.match(self._body, end + 1):
            self._key(bytes(self._body[quote : end + 1]))
        return end + 1

    def _steps(self, at: int) -> Iterator[int]:
        """Yield how far a string is sound, step by step; no step ends inside an escape."""
        size = len(self._body)
        while True:
            stop = at + _STEP_BYTES
            if stop < size:
                escape = self._body.rfind(b"\\", max(stop - _PAIR_BYTES, at + 1), stop)
                stop = stop if escape < 0 else escape
            found = _SOUND.match(self._body, at, stop)
            end = found.end() if found else at
            yield end
            if end == at or end >= size or self._body[end : end + 1] == b'"':
                return
            at = end

    def _key(self, quoted: bytes) -> None:
        try:
            name = msgspec.json.decode(quoted, type=str)
        except msgspec.DecodeError:
            return
        if len(self._keys) == 2:
            self._top = name
        seen = self._keys[-1]
        if name in self._names:
            if name in seen:
                raise Twice(name)
            seen.add(name)
