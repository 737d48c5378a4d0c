"""A model's score and storage by dimension: for models with several, and only where both are known.

Storage is exact arithmetic: 4 bytes a number, a million vectors. Scores are those of the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from gateway.control_plane.catalog.content import ModelPage

WIDTH, HEIGHT = 100.0, 100.0
"""The drawing stretches: its labels stand beside it."""
_FLOAT_BYTES = 4
_VECTORS = 1_000_000
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
_LINES = 3


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One dimension."""

    dimensions: int
    score: float
    gigabytes: float
    x: float
    y: float
    is_default: bool


class DimensionChart(msgspec.Struct, frozen=True, kw_only=True):
    """Points, and the scale beside them, the highest mark first."""

    points: list[Point]
    marks: list[float]
    score: str
    """What the scores are."""
    benchmark: str
    source: str | None

    @property
    def line(self) -> str:
        """The points of the line between them."""
        return " ".join(f"{point.x:g},{point.y:g}" for point in self.points)


def drawn(page: ModelPage, dimensions_default: int) -> DimensionChart | None:
    """Draw the scores of a page; None where there are not two of one kind, or no benchmark."""
    if page.by_dimension_benchmark is None:
        return None
    for name, kind in (("retrieval", "Retrieval"), ("mean", "Mean over all tasks")):
        scores = [
            (at.dimensions, score)
            for at in sorted(page.by_dimension, key=lambda at: at.dimensions)
            if (score := getattr(at, name)) is not None
        ]
        if len(scores) > 1:
            marks = scale([score for _, score in scores])
            low, high = marks[-1], marks[0]
            step = WIDTH / len(scores)
            points = [
                Point(
                    dimensions=dimensions,
                    score=score,
                    gigabytes=gigabytes(dimensions),
                    x=round((index + 0.5) * step, 2),
                    y=round(HEIGHT * (high - score) / (high - low), 2),
                    is_default=dimensions == dimensions_default,
                )
                for index, (dimensions, score) in enumerate(scores)
            ]
            return DimensionChart(
                points=points,
                marks=marks,
                score=kind,
                benchmark=page.by_dimension_benchmark,
                source=page.by_dimension_source,
            )
    return None


def gigabytes(dimensions: int) -> float:
    """Return the size of a million float32 vectors, in 10^9 bytes."""
    return dimensions * _FLOAT_BYTES * _VECTORS / 10**9


def scale(scores: Sequence[float]) -> list[float]:
    """Return round marks around scores, evenly apart, the highest first."""
    low, high = min(scores), max(scores)
    for step in _STEPS:
        start = math.floor(low / step) * step
        if start + step * (_LINES - 1) >= high:
            return [round(start + step * index, 1) for index in reversed(range(_LINES))]
    return [100.0, 50.0, 0.0]
