"""Files that pages name: the font that a style names, and what is sent packed."""

import gzip
import re

import pytest

from testing.browsing import Browser
from tests.control_plane.conftest import MINILM


async def style(browser: Browser, accepts: str):
    page = (await browser.get("/")).text
    (url,) = re.findall(r'href="(/static/site-[^"]+)"', page)
    return await browser.get(url, headers={"accept-encoding": accepts})


async def test_the_font_is_ours_and_the_page_asks_for_it_early(browser: Browser):
    css = (await style(browser, "identity")).text
    (font,) = re.findall(r'url\("(/static/inter-\w+\.woff2)"\)', css)
    page = await browser.get("/")
    assert f'<link rel="preload" href="{font}" as="font"' in page.text
    assert "font-src 'self'" in page.headers["content-security-policy"]
    answer = await browser.get(font)
    assert answer.headers["content-type"] == "font/woff2"
    assert answer.content.startswith(b"wOF2")
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("accepts", "is_packed"),
    [("gzip, br", True), ("GZIP;q=0.5", True), ("*", True), ("br", False), ("", False),
     ("gzip;q=0", False), ("gzip; q=0.0, br", False)],
)  # fmt: skip
async def test_a_style_is_sent_packed_to_who_takes_that(
    browser: Browser, accepts: str, is_packed: bool
):
    answer = await style(browser, accepts)
    assert ("content-encoding" in answer.headers) is is_packed
    assert answer.headers["vary"] == "accept-encoding"
    plain = (await style(browser, "identity")).content
    assert answer.content == plain  # httpx unpacks
    assert len(gzip.compress(plain)) < len(plain) / 3


@pytest.mark.parametrize("path", ["/", "/models", f"/models/{MINILM}", "/docs", "/status"])
async def test_a_first_visit_weighs_little(browser: Browser, path: str):
    """Under 140 KB as sent, font included; the gateway leaves packing pages to the proxy."""
    page = await browser.get(path)
    urls = set(re.findall(r'<(?:link|script)[^>]*(?:href|src)="(/static/[^"]+)"', page.text))
    assert any("inter" in url for url in urls)
    sent = len(page.content)
    for url in urls:
        async with browser.http.stream("GET", url, headers={"accept-encoding": "gzip"}) as answer:
            sent += len(b"".join([part async for part in answer.aiter_raw()]))
    assert 80_000 < sent < 140_000
