"""`/live` reports a device that hangs, so that a supervisor restarts the process."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from backends.stella.app import STUCK_SECONDS, StellaApp
from backends.stella.metrics import Metrics


@pytest.mark.parametrize(("seconds", "status"), [(0.0, 200), (STUCK_SECONDS + 1, 503)])
async def test_a_batch_that_takes_forever_is_not_live(seconds: float, status: int):
    app = StellaApp(Metrics())
    app.open(cast("Any", SimpleNamespace(computing_seconds=seconds)), cast("Any", None), {})
    answer = await app.answer({"method": "GET", "path": "/live"}, cast("Any", None))
    assert answer[0] == status
