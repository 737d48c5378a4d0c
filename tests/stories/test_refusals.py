"""What the calculator and the playground refuse is said where the result would stand."""

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.stories.conftest import MINILM, STELLA


def test_the_calculator_refuses_where_the_result_stands(page: Page):
    page.goto(f"/calculator?model={MINILM}")
    page.get_by_label("A typical text").fill("hi")
    page.get_by_role("button", name="Calculate").click()
    result = page.locator(".result")
    expect(result).to_contain_text("$0.000000024")
    page.get_by_label("Texts a month").fill("a lot")
    page.get_by_role("button", name="Calculate").click()
    expect(result.get_by_role("alert")).to_contain_text("a whole number")
    expect(result).not_to_contain_text("$")
    expect(page.get_by_label("A typical text")).to_have_value("hi")
    page.get_by_label("Texts a month").fill("1000")
    page.get_by_label("A typical text").fill("x" * 20_001)
    page.get_by_role("button", name="Calculate").click()
    expect(result.get_by_role("alert")).to_contain_text("20,001 characters")
    assert len(page.get_by_label("A typical text").input_value()) == 20_001


def test_another_model_brings_its_own_prompts(page: Page, context_has_javascript: bool):
    page.goto(f"/calculator?model={STELLA}")
    page.get_by_label("A typical text").fill("hi")
    page.get_by_label("Prompt").select_option("s2p_query")

    def choose(model: str) -> None:
        page.get_by_label("Model", exact=True).select_option(model)
        if not context_has_javascript:
            page.get_by_role("button", name="Calculate").click()

    choose(MINILM)
    expect(page.get_by_label("Prompt")).to_have_count(0)
    expect(page.locator(".result .value").first).to_have_text("3")
    expect(page.get_by_label("A typical text")).to_have_value("hi")
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
    page.get_by_label("A typical text").fill("hi")
    page.get_by_label("Texts a month").fill("1,000,000")
    page.get_by_role("button", name="Calculate").click()
    held[0].continue_()
    expect(page.locator(".result .value").first).to_have_text("3")
    expect(page.get_by_label("Prompt").get_by_role("option")).to_have_count(3)
    expect(page.get_by_label("A typical text")).to_have_value("hi")
    expect(page.get_by_label("Texts a month")).to_have_value("1,000,000")


def test_the_playground_refuses_where_the_result_stands(page: Page):
    page.goto(f"/playground/{MINILM}")
    page.get_by_role("button", name="Embed and compare").click()
    result = page.locator("#result")
    expect(result.locator(".heat td")).to_have_count(16)
    for sentences, message in [("only one", "So far: 1"), ("short\n" + "x" * 301, "Sentence 2")]:
        page.get_by_role("textbox", name="Sentences").fill(sentences)
        page.get_by_role("button", name="Embed and compare").click()
        expect(result.get_by_role("alert")).to_contain_text(message)
        expect(result.locator(".heat td")).to_have_count(0)
        expect(page.get_by_role("textbox", name="Sentences")).to_have_value(sentences)


@pytest.mark.parametrize("context", [True], indirect=True, ids=["javascript"])
def test_no_answer_is_said_too(context: BrowserContext):
    page = context.new_page()  # not the fixture: the browser complains of the connection, rightly
    page.goto(f"/playground/{MINILM}")
    page.route("**/playground/**", lambda route: route.abort())
    page.get_by_role("button", name="Embed and compare").click()
    expect(page.locator("#result").get_by_role("alert")).to_contain_text("No answer")
