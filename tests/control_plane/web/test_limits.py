"""Limits for each visitor: they fill again, and know who is behind a proxy."""

from typing import NamedTuple

import pytest
from litestar.datastructures import Headers
from structlog.testing import capture_logs

from gateway.control_plane.web.rate_limits import Limit, visitor_of
from gateway.errors import TooManyRequests
from testing.browsing import Browser


class Client(NamedTuple):
    host: str


class FakeRequest:
    def __init__(self, host: str, forwarded: str = "") -> None:
        self.client = Client(host)
        lines = [line.encode() for line in forwarded.split("|") if line]
        self.headers = Headers([(b"x-forwarded-for", line) for line in lines])


def test_a_bucket_fills_again():
    now = [0.0]
    limit = Limit(2, clock=lambda: now[0])
    limit.take("a")
    limit.take("a")
    with pytest.raises(TooManyRequests) as refused:
        limit.take("a")
    assert refused.value.headers["retry-after"] == "1800"
    assert "in 30 minutes" in refused.value.message
    limit.take("b")
    now[0] += 1800
    limit.take("a")
    with pytest.raises(TooManyRequests):
        limit.take("a")


@pytest.mark.parametrize(
    ("host", "forwarded", "proxies", "visitor"),
    [
        ("203.0.113.7", "", 0, "203.0.113.7"),
        ("203.0.113.7", "1.2.3.4", 0, "203.0.113.7"),  # nobody chooses their own address
        ("10.0.0.1", "9.9.9.9, 203.0.113.7", 1, "203.0.113.7"),
        ("10.0.0.1", "9.9.9.9, 203.0.113.7, 10.0.0.2", 2, "203.0.113.7"),
        ("10.0.0.1", "9.9.9.9|203.0.113.7", 1, "203.0.113.7"),  # a line of the proxy's own
        ("::ffff:203.0.113.7", "", 0, "203.0.113.7"),  # not one bucket for all of IPv4
        ("2001:db8:1:2:3::4", "", 0, "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "", 0, "2001:db8:1:2::/64"),
        ("nonsense", "", 0, "unknown"),
    ],
)
def test_who_a_visitor_is(host: str, forwarded: str, proxies: int, visitor: str):
    assert visitor_of(FakeRequest(host, forwarded), proxies=proxies) == visitor


@pytest.mark.parametrize("options", [{"public_url": "https://gateway.example"}])
@pytest.mark.sqlite
async def test_a_proxy_that_nobody_told_of_is_told_of_once(browser: Browser):
    browser.http.headers["x-forwarded-for"] = "203.0.113.7"
    with capture_logs() as logs:
        for _ in range(2):
            await browser.http.get("/status")
    (said,) = [line["event"] for line in logs if line["log_level"] == "warning"]
    assert "GATEWAY_TRUSTED_PROXIES is 0" in said
