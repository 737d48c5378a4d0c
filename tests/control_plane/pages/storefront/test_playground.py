"""The playground, with a real worker process behind it."""

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.app.process import Process
from gateway.buckets import Buckets
from gateway.data_plane.metering.tokens import BERT_UNCASED_SHA256
from testing.browsing import Browser
from testing.processes import running
from tests.control_plane.conftest import MINILM, STELLA

PATH = f"/playground/{MINILM}"


@pytest.fixture(scope="module")
def worker() -> Iterator[str]:
    options = ["--model", MINILM, "--dimensions", "384"]
    with running("backends.fake", *options, "--vocabulary-sha256", BERT_UNCASED_SHA256) as process:
        yield process.url


@pytest.fixture
def options(worker: str) -> dict[str, Any]:
    return {"workers": f"{MINILM}={worker}", "experiments_per_hour": 2}


async def test_sentences_are_embedded_and_compared(browser: Browser):
    await browser.get(PATH)
    page = (await browser.submit(PATH, sentences="one\n\n two \none")).text
    assert page.count('class="heat-4"') == 5  # each with itself, and "one" with "one"
    assert "$0.000000072" in page  # 3 sentences of 3 tokens
    assert (await browser.get("/status")).text.count("1 of 1") == 1
    await browser.get(PATH)
    hostile = (await browser.submit(PATH, sentences="<script>x</script>\ntwo")).text
    assert "<script>x" not in hostile
    await browser.get(PATH)
    assert (await browser.submit(PATH, sentences="a\nb")).status_code == 429


async def test_bounds(browser: Browser):
    for sentences in ["one", "a\nb\nc\nd\ne\nf\ng", "short\n" + "x" * 301, ""]:
        await browser.get(PATH)
        assert (await browser.submit(PATH, sentences=sentences)).status_code == 400


async def test_a_model_that_is_not_live_has_none(browser: Browser):
    assert (await browser.get(f"/playground/{STELLA}")).status_code == 404


async def test_all_visitors_together_have_a_bound(gateway: Process, browser: Browser):
    one_more = Browser(gateway.app, address="203.0.113.99")
    gateway.web.experiment_limit_of_all._buckets = Buckets(1, 3600)
    statuses = []
    for visitor in (browser, one_more):
        await visitor.get(PATH)
        statuses.append((await visitor.submit(PATH, sentences="a\nb")).status_code)
    assert statuses == [200, 429]
    await one_more.close()
