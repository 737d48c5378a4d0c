"""Legal pages: filled in by settings, or not there and not linked."""

import dataclasses
import re
from typing import Any

import httpx
import pytest

from gateway.cli.checks.agreement import agreement
from gateway.control_plane.web import snippets
from testing.browsing import Browser
from testing.gateways import settings

FILLED = {
    "legal_name": "Example Embeddings Ltd",
    "legal_address": "1 Main Street, Dublin, Ireland",
    "legal_email": "hello@example.com",
    "legal_law": "the laws of Ireland",
    "processing_region": "Dublin, Ireland",
    "subprocessors": "Acme Hosting: servers, Ireland; Stripe: payments, Ireland",
}
PAGES = ("/terms", "/privacy", "/security", "/contact")


async def shown(browser: Browser, path: str) -> httpx.Response:
    """Ask for a page without going where it leads."""
    return await browser.http.get(path, follow_redirects=False)


@pytest.mark.parametrize("options", [FILLED])
async def test_filled_pages_name_the_seller_and_are_linked(browser: Browser):
    home = (await browser.get("/")).text
    listed = (await browser.get("/sitemap.xml")).text
    pages = {}
    for path in PAGES:
        answer = await shown(browser, path)
        assert answer.status_code == 200, path
        pages[path] = answer.text
        assert f'href="{path}"' in home
        assert f"http://127.0.0.1:8080{path}</loc>" in listed
        assert "style=" not in answer.text
    for path in ("/terms", "/privacy", "/contact"):
        assert FILLED["legal_name"] in pages[path]
        assert FILLED["legal_address"] in pages[path]
    assert FILLED["legal_law"] in pages["/terms"]
    assert "Acme Hosting: servers, Ireland</li>" in pages["/privacy"]
    assert "Card numbers" not in pages["/privacy"], "nothing is sold here"
    security = (await browser.get("/.well-known/security.txt")).text
    assert "Contact: mailto:hello@example.com\n" in security
    assert re.search(r"Expires: \d{4}-\d\d-\d\dT00:00:00Z\n", security)


@pytest.mark.parametrize("options", [FILLED | {"usage_retention_days": 77, "request_log_days": 9}])
async def test_the_privacy_policy_has_the_periods_that_are_set(browser: Browser):
    page = (await browser.get("/privacy")).text
    assert "77 days; sums by hour" in page
    assert '<td data-label="How long">9 days</td>' in page
    assert "among the 2,000 most asked for" in page
    assert {*browser.http.cookies} | {"session", "theme", snippets.COOKIE} == set(
        re.findall(r"<tr>\n<td><code>(\w+)</code></td>", page)
    ), "each cookie that is set, and no other"


async def test_what_is_not_filled_in_is_not_there_and_not_linked(browser: Browser):
    home = (await browser.get("/")).text
    listed = (await browser.get("/sitemap.xml")).text
    for path in PAGES:
        assert (await shown(browser, path)).status_code == 404, path
        assert f'href="{path}"' not in home
        assert f"{path}</loc>" not in listed
    for path in ("/.well-known/security.txt", "/impressum", "/imprint"):
        assert (await shown(browser, path)).status_code == 404, path


@pytest.mark.parametrize(
    "options", [{"terms": "https://example.com/terms", "privacy": "https://example.com/privacy"}]
)
async def test_terms_and_privacy_can_be_elsewhere(browser: Browser):
    home = (await browser.get("/")).text
    for path in ("/terms", "/privacy"):
        answer = await shown(browser, path)
        assert answer.status_code == 302
        assert answer.headers["location"] == f"https://example.com{path}"
        assert f'href="https://example.com{path}"' in home


async def test_the_operator_is_told_what_is_missing():
    chosen = settings("sqlite://", public_url="https://g.example")
    assert chosen.unfilled["/privacy"] == [
        "GATEWAY_LEGAL_NAME", "GATEWAY_LEGAL_ADDRESS", "GATEWAY_LEGAL_EMAIL",
        "GATEWAY_PROCESSING_REGION",
    ]  # fmt: skip
    words = [finding.words async for finding in agreement(chosen)]
    assert any("/terms, /privacy, /security, /contact: not shown" in each for each in words)
    filled = dataclasses.replace(chosen, **FILLED)
    assert not filled.unfilled
    assert not [one.words async for one in agreement(filled) if "not shown" in one.words]
    some = dataclasses.replace(filled, legal_law="", terms="https://example.com/terms")
    assert not some.unfilled, "the operator's own terms need nothing of ours"


@pytest.mark.parametrize(
    "options",
    [
        FILLED
        | {
            "subprocessors": "",
            "stripe_secret_key": "sk_test_" + "x" * 24,
            "stripe_webhook_secrets": "whsec_" + "x" * 24,
            "github_client_id": "abc",
            "github_client_secret": "def",
            "smtp_url": "smtp://mail.example:587",
        }
    ],
)
async def test_the_companies_that_process_data_are_named_without_being_listed(browser: Browser):
    page = (await browser.get("/privacy")).text.partition('id="who-else')[2].partition("<h2")[0]
    assert "<li>Stripe: payments</li>" in page
    assert "<li>GitHub: signing in" in page
    assert "which companies host the service and deliver its email." in page


@pytest.mark.parametrize("options", [FILLED])
async def test_what_is_listed_is_not_asked_for(browser: Browser):
    page = (await browser.get("/privacy")).text
    assert page.count("Stripe:") == 1
    assert "which companies host" not in page
    assert "data processing agreement" not in page


@pytest.mark.parametrize(
    "options",
    [
        FILLED
        | {
            "legal_details": "Register no. 123456; VAT ID IE1234567X\nManaging director: Ada Byron",
            "legal_dpa": "https://example.com/dpa.pdf",
        }
    ],
)
async def test_what_the_law_wants_stands_below_the_address(browser: Browser):
    for path in ("/contact", "/terms"):
        page = (await browser.get(path)).text
        for line in ("Register no. 123456", "VAT ID IE1234567X", "Managing director: Ada Byron"):
            assert f"<li>{line}</li>" in page
    for path in ("/contact", "/privacy"):
        assert 'href="https://example.com/dpa.pdf"' in (await browser.get(path)).text
    for path in ("/impressum", "/imprint"):
        assert (await shown(browser, path)).headers["location"] == "/contact"


@pytest.mark.parametrize("options", [FILLED, FILLED | {"receipts": False}])
async def test_security_promises_receipts_where_there_are_some(
    browser: Browser, options: dict[str, Any]
):
    page = (await browser.get("/security")).text
    assert ("signed receipt" in page) is options.get("receipts", True)


@pytest.mark.parametrize(
    "options",
    [FILLED | {"usage_retention_days": 77, "request_log_days": 9, "answer_retention_days": 88}],
)
async def test_the_guide_on_data_says_the_same_as_the_privacy_policy(browser: Browser):
    guide = (await browser.get("/docs/data-handling")).text
    for said in ("77 days", "9 days", "88 days", "In Dublin, Ireland"):
        assert said in guide
    assert 'href="/privacy"' in guide.partition("<article")[2].partition("</article>")[0]
    assert "operator" not in guide
