"""What people do, from the first visit to the launch mail, in a real browser."""

import json
import re
import subprocess
import zlib
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from gateway.control_plane.catalog import cards
from gateway.money import money
from testing.github import Github, person
from testing.mailbox import Mailbox
from tests.stories.conftest import MINILM, STELLA, Service, link_in, sign_in, sign_out


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    return f"{request.node.callspec.id}@example.org"


MODELS = len(cards.reviewed())


def test_visit_vote_sign_in_key_call_usage(
    page: Page, service: Service, mailbox: Mailbox, address: str, context_has_javascript: bool
):
    page.goto("/")
    page.get_by_role("navigation").get_by_role("link", name="Models", exact=True).first.click()
    page.get_by_role("link", name="stella_en_400M_v5").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Stella EN 400M V5")
    page.get_by_role("link", name="Sign in to vote").click()
    sign_in(page, mailbox, address)
    page.get_by_role("button", name="Vote for this model").click()
    expect(page.get_by_text("You voted; we will email you when it launches.")).to_be_visible()
    expect(page.locator("#demand")).to_contain_text("verified vote")
    page.get_by_text("Edit your vote").click()
    page.get_by_label("Use case").fill("search")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Edit your vote").click()
    expect(page.get_by_label("Use case")).to_have_value("search")

    page.get_by_role("link", name="Console", exact=True).click()
    expect(page.locator(".stat").first).to_contain_text("$0.25")
    page.get_by_role("button", name="Create my first key").click()
    command = page.locator("#command-curl").inner_text()
    line = page.locator("#first-call")
    expect(line).to_contain_text("Waiting for your first call")
    answer = run(command)
    assert len(answer["data"][0]["embedding"]) == 384
    spent = answer["usage"]["total_tokens"] * 8
    if not context_has_javascript:
        page.get_by_role("link", name="Check again").click()
    expect(line).to_contain_text(f"200, {answer['usage']['total_tokens']} tokens, {money(spent)}")

    page.goto("/console/usage")
    expect(page.locator(".chart .bar")).to_have_count(1)
    expect(page.get_by_role("region", name="By model")).to_contain_text(MINILM)
    expect(page.get_by_role("region", name="By model")).to_contain_text(money(spent))
    page.goto("/console/ledger")
    # what was used is posted there when its lease is, some seconds later
    expect(page.get_by_role("region", name="Ledger")).to_contain_text("+$0.25")

    refused = run(command.replace(MINILM, STELLA))
    assert refused["error"]["code"] == "model_coming_soon"
    assert f"{service.url}/models/{STELLA}" in refused["error"]["message"]

    page.goto("/console/keys")
    page.get_by_role("link", name="Revoke key first key").click()
    page.get_by_role("button", name="Revoke first key").click()
    expect(page.get_by_text("Revoked: first key")).to_be_visible()
    sign_out(page)
    expect(page.get_by_role("link", name="Sign in", exact=True)).to_be_visible()


def test_sign_in_by_github(page: Page, github: Github, address: str):
    github.person = person(zlib.crc32(address.encode()), f"gh-{address}")
    page.goto("/console")
    page.get_by_role("link", name="Continue with GitHub").click()
    page.get_by_role("link", name="Authorize").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    expect(page.locator(".stat").first).to_contain_text("$0.25")
    page.goto("/console/settings")
    page.get_by_role("button", name="Disconnect GitHub").click()
    expect(page.get_by_role("link", name="Connect GitHub")).to_be_visible()


def test_the_waitlist_without_an_account(page: Page, mailbox: Mailbox, address: str):
    page.goto(f"/models/{STELLA}")
    page.get_by_label("Or get one email").fill(f"w-{address}")
    page.get_by_role("button", name="Notify me").click()
    page.goto(link_in(mailbox, f"w-{address}", "Confirm"))
    page.get_by_role("button", name="Join the waitlist").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You're on the waitlist")


def test_the_calculator_and_the_filters(page: Page):
    page.goto("/calculator")
    page.get_by_label("Model", exact=True).select_option(STELLA)
    page.get_by_label("A typical input").fill("hi")
    page.get_by_label("Inputs per month").fill("1,000,000")
    page.get_by_role("button", name="Calculate").click()
    expect(page.locator(".result")).to_contain_text("$0.000000024")
    expect(page.locator(".result")).to_contain_text("$0.02")
    page.goto("/models")
    page.get_by_role("link", name="Live 1").click()
    expect(page.get_by_text(f"1 of {MODELS} models")).to_be_visible()


def test_the_playground(page: Page):
    page.goto(f"/playground/{MINILM}")
    page.get_by_role("button", name="Embed and compare").click()
    expect(page.locator(".heat td")).to_have_count(16)
    page.get_by_role("link", name="Search", exact=True).click()
    page.get_by_role("textbox", name="Query").fill("Orders leave today")
    page.get_by_role("button", name="Embed and rank").click()
    expect(page.locator(".hits li")).to_have_count(5)
    page.get_by_text("See the code").click()
    page.get_by_text("Python", exact=True).first.click()
    expect(page.locator("#code-1-python")).to_contain_text('query = "Orders leave today"')
    page.goto(f"/playground/{STELLA}")
    expect(page).to_have_url(re.compile(f"/models/{STELLA}#demand$"))


@pytest.mark.parametrize("context", [True], indirect=True, ids=["javascript"])
def test_the_button_says_what_it_does(page: Page):
    page.goto(f"/playground/{MINILM}")
    page.route("**/playground/**", lambda _: None)  # no answer, so that it stays so
    page.get_by_role("button", name="Embed and compare").click()
    button = page.get_by_role("button", name="Embedding…")
    expect(button).to_be_visible()
    expect(button).to_be_disabled()


@pytest.mark.parametrize("context", [True], indirect=True, ids=["javascript"])
def test_with_javascript_it_answers_as_one_types(context: BrowserContext, page: Page):
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"/models/{STELLA}")
    page.get_by_label("A typical input").press_sequentially("hi")
    expect(page.locator(".result")).to_contain_text("$0.000000024")
    page.get_by_text("Python", exact=True).first.click()
    expect(page.locator("#call-python")).to_be_visible()
    page.locator("[data-panel=python]").get_by_role("button", name="Copy").click()
    assert "api_key=os.environ[" in page.evaluate("navigator.clipboard.readText()")
    page.goto("/models")
    page.get_by_role("searchbox", name="Search", exact=True).press_sequentially("stela_en_400M")
    expect(page.get_by_text(f"1 of {MODELS} models")).to_be_visible()
    expect(page).to_have_url(re.compile("/models\\?q=stela_en_400M$"))


@pytest.mark.parametrize("context", [True], indirect=True, ids=["javascript"])
def test_a_button_that_copies_is_itself_again(context: BrowserContext, page: Page):
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"/models/{MINILM}")
    button = page.locator("[data-copy=model-id]")
    button.dblclick()
    assert page.evaluate("navigator.clipboard.readText()") == MINILM
    expect(button).to_have_text("Copied")
    expect(button).to_have_text("Copy")


@pytest.mark.parametrize("context", [True], indirect=True, ids=["javascript"])
def test_without_a_clipboard_nothing_says_copy(page: Page):
    """As on plain http: the browser gives scripts none."""
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.goto(f"/models/{MINILM}")
    expect(page.locator("[data-copy]").first).to_be_hidden()
    assert page.locator("[data-copy]:not([hidden])").count() == 0


@pytest.mark.parametrize("context", [True], indirect=True, ids=["javascript"])
def test_launch(page: Page, service: Service, mailbox: Mailbox):
    """The last story: it makes Stella live."""
    voter = "launch-voter@example.org"
    page.goto("/sign-in")
    sign_in(page, mailbox, voter)
    page.goto(f"/models/{STELLA}")
    page.get_by_role("button", name="Vote for this model").click()
    assert "Pinned" in service.command("workers", "pin", STELLA, service.stella_url)
    assert "live at $0.009" in service.command("models", "launch", STELLA, "--price", "0.009")
    mailbox.wait(voter, "is live")
    page.goto(f"/models/{STELLA}")
    expect(page.get_by_text("Live", exact=True).first).to_be_visible()
    expect(page.locator(".strip")).to_contain_text("$0.009")
    expect(page.locator(".strip")).not_to_contain_text("Estimated")
    page.goto("/console")
    expect(page.locator(".stat").first).to_contain_text("$0.50")  # sign-up and launch credit
    page.get_by_role("button", name="Create my first key").click()
    command = page.locator("#command-curl").inner_text().replace(MINILM, STELLA)
    assert len(run(command)["data"][0]["embedding"]) == 1024
    demand: dict[str, Any] = json.loads(service.command("models", "demand", STELLA, "--json"))
    assert demand["conversion"]["organizations_calling"] >= 1
    told = [
        m for m in mailbox.messages if "is live" in m["Subject"] and "Confirm" not in m["Subject"]
    ]
    recipients = [m["To"] for m in told]
    assert recipients.count(voter) == 1
    assert len(recipients) == len(set(recipients))


def run(command: str) -> dict[str, Any]:
    """Paste a command into a shell."""
    done = subprocess.run(
        ["bash", "-c", f"{command} --silent"], capture_output=True, timeout=30, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
