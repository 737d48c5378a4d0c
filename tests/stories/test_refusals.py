"""What is refused is said where it was typed, and what was typed is still there."""

import re

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Route, expect

from testing.mailbox import Mailbox
from tests.stories.conftest import MINILM, STELLA, sign_in

pytestmark = pytest.mark.long  # each answer and each rule is tested without a browser too


def expect_blamed(field: Locator, message: str) -> None:
    """Expect a field to be marked as at fault, and described by an alert."""
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(re.compile(re.escape(message)))


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    return f"refused-{request.node.callspec.id}@example.org"


def test_forms_keep_what_was_typed(
    page: Page, context: BrowserContext, mailbox: Mailbox, address: str
):
    page.goto(f"/sign-in?next=/models/{STELLA}")
    page.get_by_label("Email", exact=True).fill("ada@nowhere")
    page.get_by_role("button", name="Email me a link").click()
    expect_blamed(page.get_by_label("Email", exact=True), "not a valid email address")
    expect(page.get_by_label("Email", exact=True)).to_have_value("ada@nowhere")
    sign_in(page, mailbox, address)

    page.get_by_text("Tell us more").click()
    page.get_by_label("Use case").fill("search\nin mails")
    page.get_by_label("Highest price per million").fill("0.01")
    page.get_by_label("Million tokens per month").fill("lots")
    page.get_by_label("Million tokens per month").press("Enter")
    volume = page.get_by_label("Million tokens per month")
    expect_blamed(volume, "a whole number")
    expect(volume).to_be_focused()
    expect(volume).to_have_value("lots")
    expect(page.get_by_label("Use case")).to_have_value("search\nin mails")
    expect(page.get_by_label("Highest price per million")).to_have_value("0.01")

    context.clear_cookies(name="session")  # it ended while one was typing
    volume.fill("250")
    page.get_by_role("button", name="Vote for this model").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("This form has expired")
    expect(page.get_by_label("Use case")).to_have_value("search\nin mails")
    expect(page.get_by_label("Million tokens per month")).to_have_value("250")
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You are signed out")
    expect(page.get_by_label("Use case")).to_have_value("search\nin mails")


def test_settings_keep_what_was_typed(page: Page, mailbox: Mailbox, address: str):
    page.goto("/sign-in?next=/console/settings")
    sign_in(page, mailbox, address)
    page.get_by_label("Invite by email").fill("colleague@nowhere")
    page.get_by_label("Invite by email").press("Enter")
    expect_blamed(page.get_by_label("Invite by email"), "not a valid email address")
    expect(page.get_by_label("Invite by email")).to_have_value("colleague@nowhere")
    expect(page.get_by_label("Name", exact=True)).not_to_have_value("")
    page.get_by_label("Invite by email").fill(f"colleague-of-{address}")
    page.get_by_role("button", name="Invite").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The invitation is on its way")
    page.goto("/console/settings")
    page.get_by_text("Delete my account", exact=True).first.click()
    page.get_by_label("Type your address").fill("somebody@example.org")
    page.get_by_role("button", name="Delete my account").click()
    expect_blamed(page.get_by_label("Type your address"), "nothing was deleted")


@pytest.mark.parametrize("context", [True], indirect=True, ids=["javascript"])
def test_a_second_click_before_the_answer_sends_nothing(page: Page, mailbox: Mailbox, address: str):
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.goto("/sign-in?next=/console/keys/new")
    sign_in(page, mailbox, address)
    page.get_by_label("Name").fill("production")
    page.route("**/console/keys", hold)
    create = page.get_by_role("button", name="Create")
    box = create.bounding_box()
    assert box
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    with page.expect_request("**/console/keys"):
        page.mouse.click(*middle)
    page.mouse.click(*middle)  # the mouse waits for no page
    held[0].continue_()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your new key")
    assert len(held) == 1
    page.unroute("**/console/keys")
    page.go_back()
    page.get_by_label("Name").fill("another")
    create.click()  # who comes back means it
    expect(page.get_by_role("heading", level=1)).to_have_text("Your new key")
    expect(page.get_by_text("another")).to_be_visible()


def test_a_filter_is_blamed(page: Page):
    page.goto("/models?price=1")
    page.get_by_label("Max price").fill("cheap")
    page.get_by_role("main").get_by_role("button", name="Search").click()
    expect_blamed(page.get_by_label("Max price"), "is not an amount")
    expect(page.get_by_label("Max price")).to_have_value("cheap")
    page.get_by_label("Max price").fill("1")
    page.get_by_role("main").get_by_role("button", name="Search").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_label("Max price")).not_to_have_attribute("aria-invalid", "true")


def test_the_calculator_refuses_where_the_result_stands(page: Page):
    page.goto(f"/calculator?model={MINILM}")
    page.get_by_label("A typical input").fill("hi")
    page.get_by_role("button", name="Calculate").click()
    result = page.locator(".result")
    expect(result).to_contain_text("$0.000000024")
    page.get_by_label("Inputs per month").fill("a lot")
    page.get_by_role("button", name="Calculate").click()
    expect(result.get_by_role("alert")).to_contain_text("a whole number")
    expect(result).not_to_contain_text("$")
    expect_blamed(page.get_by_label("Inputs per month"), "a whole number")
    expect(page.get_by_label("A typical input")).to_have_value("hi")
    page.get_by_label("Inputs per month").fill("1000")
    page.get_by_label("A typical input").fill("x" * 20_001)
    page.get_by_role("button", name="Calculate").click()
    expect(result.get_by_role("alert")).to_contain_text("20,001 characters")
    expect_blamed(page.get_by_label("A typical input"), "20,001 characters")
    expect(page.get_by_label("Inputs per month")).not_to_have_attribute("aria-invalid", "true")
    assert len(page.get_by_label("A typical input").input_value()) == 20_001


def test_another_model_brings_its_own_prompts(page: Page, context_has_javascript: bool):
    page.goto(f"/calculator?model={STELLA}")
    page.get_by_label("A typical input").fill("hi")
    page.get_by_label("Prompt").select_option("s2p_query")

    def choose(model: str) -> None:
        page.get_by_label("Model", exact=True).select_option(model)
        if not context_has_javascript:
            page.get_by_role("button", name="Calculate").click()

    choose(MINILM)
    expect(page.get_by_label("Prompt")).to_have_count(0)
    expect(page.locator(".result .value").first).to_have_text("3")
    expect(page.get_by_label("A typical input")).to_have_value("hi")
    choose(STELLA)
    expect(page.get_by_label("Prompt").get_by_role("option")).to_have_count(3)
    page.get_by_label("Prompt").select_option("s2s_query")
    page.get_by_role("button", name="Calculate").click()
    expect(page.locator(".result .value").first).to_have_text("14")


@pytest.mark.parametrize("context", [True], indirect=True, ids=["javascript"])
def test_what_one_types_while_another_model_is_asked_for_stays(page: Page):
    page.goto(f"/calculator?model={MINILM}")
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        held.append(route)

    page.route("**/calculator", hold_the_first)
    with page.expect_request("**/calculator"):
        page.get_by_label("Model", exact=True).select_option(STELLA)
    page.get_by_label("A typical input").fill("hi")
    page.get_by_label("Inputs per month").fill("1,000,000")
    page.get_by_role("button", name="Calculate").click()
    held[0].continue_()
    expect(page.locator(".result .value").first).to_have_text("3")
    expect(page.get_by_label("Prompt").get_by_role("option")).to_have_count(3)
    expect(page.get_by_label("A typical input")).to_have_value("hi")
    expect(page.get_by_label("Inputs per month")).to_have_value("1,000,000")


@pytest.mark.parametrize("context", [True], indirect=True, ids=["javascript"])
def test_what_was_wrong_when_the_page_came_goes_when_it_is_right(context: BrowserContext):
    page = context.new_page()  # not the fixture: the page comes with a 400, rightly
    page.goto("/models?price=abc")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("is not an amount")
    page.get_by_label("Max price").fill("0.000001")
    page.get_by_label("Max price").press("Tab")
    expect(page.get_by_text("0 of")).to_be_visible()
    expect(alert).to_have_count(0)


def test_the_playground_refuses_at_the_field(page: Page):
    page.goto(f"/playground/{MINILM}")
    page.get_by_role("button", name="Embed and compare").click()
    cells = page.locator("#result .heat td")
    expect(cells).to_have_count(16)
    for sentences, message in [("only one", "So far: 1"), ("short\n" + "x" * 301, "Line 2")]:
        field = page.get_by_role("textbox", name="Sentences")
        field.fill(sentences)
        page.get_by_role("button", name="Embed and compare").click()
        expect(page.locator("#problem-sentences").get_by_role("alert")).to_contain_text(message)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_value(sentences)
        expect(cells).to_have_count(0)
    field.fill("one\ntwo")
    page.get_by_role("button", name="Embed and compare").click()
    expect(cells).to_have_count(4)
    expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize("context", [True], indirect=True, ids=["javascript"])
def test_no_answer_is_said_too(context: BrowserContext):
    page = context.new_page()  # not the fixture: the browser complains of the connection, rightly
    page.goto(f"/playground/{MINILM}")
    page.route("**/playground/**", lambda route: route.abort())
    page.get_by_role("button", name="Embed and compare").click()
    expect(page.locator("#result").get_by_role("alert")).to_contain_text("No answer")
