"""What the tests of the endpoint share: a body, a worker's faults, and the form of an error."""

from collections.abc import AsyncIterator

import httpx
import pytest

from testing.gateways import MODEL
from testing.processes import Process

BODY = b'{"model":"%b","input":"hello world"}' % MODEL.encode()
INVALID = ["nan", "zero", "foreign", "permuted", "missing", "truncated", "html"]
"""Faults of a worker whose answers may not be delivered."""


def code(answer: httpx.Response) -> str:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    return error["code"]


@pytest.fixture
async def fault(fake_worker: Process) -> AsyncIterator[httpx.AsyncClient]:
    """Controls the fake worker's faults, and ends them with the test."""
    async with httpx.AsyncClient(base_url=fake_worker.url) as control:
        yield control
        await control.delete("/fault")
