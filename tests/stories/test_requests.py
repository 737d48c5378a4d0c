"""A developer whose calls are refused finds out why, with and without JavaScript."""

import csv
import io
import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from testing import looks
from testing.mailbox import Mailbox
from tests.stories.conftest import MINILM, Service, sign_in

LOOKS = looks.looks()


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    return f"calls-{request.node.callspec.id}@example.org"


def call(service: Service, secret: str, **changes: str) -> httpx.Response:
    body = {"model": MINILM, "input": "words that nobody keeps", **changes}
    headers = {"authorization": f"Bearer {secret}"}
    return httpx.post(f"{service.url}/v1/embeddings", json=body, headers=headers)


def seen(page: Page, slug: str, *, is_scripted: bool) -> list[str]:
    if not is_scripted:
        return []  # axe is a script
    return [str(one) for one in looks.problems(page, slug, LOOKS)]


def awaited(page: Page, text: str) -> None:
    """Look again until the gateway has written down what it counted."""
    for _ in range(100):
        if page.get_by_text(text).count():
            return
        page.reload()
    raise AssertionError(page.content())


def test_a_first_call_that_is_refused_says_so(
    page: Page,
    service: Service,
    mailbox: Mailbox,
    address: str,
    *,
    context_has_javascript: bool,
):
    page.goto("/sign-in?next=/console")
    sign_in(page, mailbox, f"refused-{address}")
    page.get_by_role("button", name="Create my first key").click()
    secret = re.search(r"sk-[0-9A-Za-z]{46}", page.content())
    assert secret
    assert call(service, secret[0], model="BAAI/bge-m4").status_code == 404
    line = page.locator("#first-call")
    if not context_has_javascript:
        line.get_by_role("link", name="Check again").click()
        awaited(page, "Your last call: 404")
    expect(line).to_contain_text("Your last call: 404 model_not_found, not charged.")
    expect(line).to_contain_text("Waiting for your first successful call")
    found = seen(page, "first-call-refused", is_scripted=context_has_javascript)
    waiting = line.get_by_role("link", name="Check again").get_attribute("href")
    assert waiting
    line.get_by_role("link", name="See this request").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("model_not_found")
    expect(page.get_by_text("What to do:")).to_be_visible()

    assert call(service, secret[0]).status_code == 200
    page.goto(waiting)
    if not context_has_javascript:
        awaited(page, "Your first call: 200")
    expect(line).to_contain_text("Your first call: 200")
    assert not found, found


def test_errors_lead_to_their_reason(
    page: Page,
    service: Service,
    mailbox: Mailbox,
    address: str,
    tmp_path: Path,
    *,
    context_has_javascript: bool,
):
    page.goto("/sign-in?next=/console/requests")
    sign_in(page, mailbox, address)
    expect(page.get_by_text("No requests yet.")).to_be_visible()
    found = seen(page, "requests-none", is_scripted=context_has_javascript)
    page.goto("/console")
    page.get_by_role("button", name="Create my first key").click()
    secret = re.search(r"sk-[0-9A-Za-z]{46}", page.content())
    assert secret
    paid = call(service, secret[0])
    assert paid.status_code == 200
    for _ in range(3):
        assert call(service, secret[0], model="BAAI/bge-m4").status_code == 404
    assert call(service, secret[0], encoding_format="hex").status_code == 400

    page.goto("/console/errors")
    awaited(page, "4 errors in 30 days")
    found += seen(page, "errors", is_scripted=context_has_javascript)
    page.get_by_role("row").filter(has_text="model_not_found").get_by_role("link", name="3").click()
    awaited(page, "model_not_found")
    expect(page.get_by_role("row").filter(has_text="404")).to_have_count(3)
    assert "key=" in page.url

    page.goto("/console/requests")
    expect(page.get_by_role("row")).to_have_count(6)
    found += seen(page, "requests", is_scripted=context_has_javascript)
    page.get_by_label("Outcome").select_option("Errors")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(f"{service.url}/console/requests?outcome=errors")
    expect(page.get_by_role("row")).to_have_count(5)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    download.value.save_as(tmp_path / "requests.csv")
    lines = list(csv.DictReader(io.StringIO((tmp_path / "requests.csv").read_text())))
    assert [line["status"] for line in lines] == ["400", "404", "404", "404"]

    page.get_by_role("link", name="model_not_found").first.click()
    expect(page.get_by_text("There is no model of that name.")).to_be_visible()
    expect(page.get_by_text("Nothing: errors are not charged.")).to_be_visible()
    found += seen(page, "request-refused", is_scripted=context_has_javascript)
    page.get_by_role("link", name="More about this error").click()
    expect(page.locator("#model_not_found")).to_be_in_viewport()

    page.goto("/console/requests")
    page.get_by_role("searchbox", name="Request ID").fill(paid.headers["x-request-id"])
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("200")
    expect(page.get_by_text("$0.00000")).to_be_visible()
    found += seen(page, "request-charged", is_scripted=context_has_javascript)
    assert found == []
