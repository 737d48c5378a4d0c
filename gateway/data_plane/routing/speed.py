"""How long a worker should take, and how far it is off.

The line (seconds = a + b * tokens) is calibrated when a worker is taken in. What changes later is
the slowdown factor: an average of observed / predicted that is quick to rise, slow to fall, and
forgotten with time, so that a worker nobody dares to use is measured again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.data_plane.routing.settings import RoutingSettings

TOKEN_SECONDS_MIN = 1e-7
"""Ten million tokens a second: no engine is faster, and capacity stays finite."""
_FACTOR_MIN, _FACTOR_MAX = 0.5, 1000.0


class Speed:
    """The predicted time of one worker."""

    def __init__(self, settings: RoutingSettings) -> None:
        self._settings = settings
        self.base_seconds = 0.005
        self.token_seconds = 1e-5
        self.samples = 0
        """Observations since the last reset."""
        self._factor = 1.0
        self._at = 0.0

    def calibrate(self, base_seconds: float, token_seconds: float) -> None:
        """Set the line."""
        self.base_seconds = max(base_seconds, 0.0)
        self.token_seconds = max(token_seconds, TOKEN_SECONDS_MIN)

    def expected(self, tokens: int) -> float:
        """Seconds for so many tokens when the worker is well."""
        return self.base_seconds + self.token_seconds * tokens

    def slow(self, now: float) -> float:
        """Return the slowdown factor: 1 is as calibrated."""
        if self._factor == 1.0:
            return 1.0
        faded = math.exp((self._at - now) / self._settings.slow_decay_seconds)
        return 1.0 + (self._factor - 1.0) * faded

    def predicted(self, tokens: int, now: float) -> float:
        """Seconds for so many tokens as the worker is now."""
        return self.slow(now) * self.expected(tokens)

    def rate(self, now: float) -> float:
        """Tokens a second as the worker is now."""
        return 1.0 / (self.token_seconds * self.slow(now))

    def observe(self, seconds: float, tokens: int, now: float) -> None:
        """Learn from an answer, or from the age at which one was given up."""
        noise = self._settings.slow_noise_seconds
        ratio = max(seconds, noise) / max(self.expected(tokens), noise)
        factor = self.slow(now)
        weight = self._settings.slow_up if ratio > factor else self._settings.slow_down
        self._factor = min(max(factor + weight * (ratio - factor), _FACTOR_MIN), _FACTOR_MAX)
        self._at = now
        self.samples += 1

    def assume(self, factor: float, now: float) -> None:
        """Start again from a factor, with nothing observed."""
        self._factor, self._at, self.samples = factor, now, 0


def fit(small: tuple[int, float], large: tuple[int, float]) -> tuple[float, float]:
    """Lay the line through two measured (tokens, seconds): returns (a, b)."""
    tokens = large[0] - small[0]
    slope = (large[1] - small[1]) / tokens if tokens > 0 else 0.0
    token_seconds = max(slope, TOKEN_SECONDS_MIN)
    return max(small[1] - token_seconds * small[0], 0.0), token_seconds
