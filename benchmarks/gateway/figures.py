"""Measurements as figures: medians, spreads, and tables in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.gateway.native import Answers


class Sample(NamedTuple):
    """One measurement of one contender."""

    answers: Answers
    cpu_us: float
    """CPU time of its processes for each answer."""
    busy: float
    """Cores that it used."""
    resident_mb: float


class Section(NamedTuple):
    """A part's findings."""

    title: str
    text: str


Samples = Mapping[str, Sequence[Sample]]
"""By contender."""


def median(samples: Iterable[Sample], read: Callable[[Sample], float]) -> float:
    """Return the median of a figure."""
    return statistics.median(read(sample) for sample in samples)


def spread(samples: Iterable[Sample], read: Callable[[Sample], float]) -> float:
    """Return (max - min) / median, in percent."""
    values = [read(sample) for sample in samples]
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle * 100 if middle else 0.0


def with_spread(samples: Sequence[Sample], read: Callable[[Sample], float]) -> str:
    """Write a median with its spread."""
    return f"{number(median(samples, read))} ({spread(samples, read):.0f} %)"


def number(value: float) -> str:
    """Write a figure with three digits or more, as a person would."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table: words to the left, figures to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cpu_us(sample: Sample) -> float:
    """CPU microseconds a request."""
    return sample.cpu_us


def rate(sample: Sample) -> float:
    """Answers a second."""
    return sample.answers.rate


def p50_ms(sample: Sample) -> float:
    """The median latency."""
    return sample.answers.p50_ms


def p99_ms(sample: Sample) -> float:
    """The latency that 99 % stay below."""
    return sample.answers.p99_ms


def resident_mb(sample: Sample) -> float:
    """Resident memory."""
    return sample.resident_mb
