"""Choosing a model in Chromium: sort, tick, compare, and ask for what is not there."""

import re
from itertools import product

from playwright.sync_api import Page, expect

from tests.stories.conftest import MINILM, STELLA

WIDE = {"width": 1280, "height": 900}


def test_two_models_are_ticked_and_compared(page: Page, *, context_has_javascript: bool):
    page.set_viewport_size(WIDE)
    page.goto("/models")
    tray = page.locator(".tray")
    expect(tray).to_be_hidden()
    page.get_by_role("checkbox", name="Compare all-MiniLM-L6-v2").check()
    expect(tray).to_be_visible()
    if context_has_javascript:  # ticks stay while one sorts
        page.get_by_role("link", name="$ / 1M tokens").click()
        expect(page.get_by_role("columnheader", name="$ / 1M")).to_have_attribute(
            "aria-sort", "ascending"
        )
        expect(page.get_by_role("checkbox", name="Compare all-MiniLM-L6-v2")).to_be_checked()
    page.get_by_role("checkbox", name="Compare stella_en_400M_v5").check()
    if context_has_javascript:
        expect(tray).to_contain_text("2 chosen all-MiniLM-L6-v2 · stella_en_400M_v5")
    tray.get_by_role("button", name="Compare side by side").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Models side by side")
    heads = page.get_by_role("region", name="Comparison").get_by_role("columnheader")
    expect(heads).to_have_count(2)
    expect(page.locator("td.best").first).to_contain_text("best of this row")
    add = page.get_by_role("combobox", name="Add a model")
    add.fill("BAAI/bge-m3")
    add.press("Enter")
    expect(heads).to_have_count(3)
    page.get_by_role("link", name="Remove BGE-M3").click()
    expect(heads).to_have_count(2)
    assert f"model={MINILM}" in page.url
    assert f"model={STELLA}" in page.url


def test_ticks_are_cleared(page: Page):
    page.set_viewport_size(WIDE)
    page.goto("/models")
    box = page.get_by_role("checkbox", name="Compare all-MiniLM-L6-v2")
    box.check()
    page.get_by_role("button", name="Clear").click()
    expect(box).not_to_be_checked()
    expect(page.locator(".tray")).to_be_hidden()


def test_a_search_that_finds_nothing_leads_to_the_form(page: Page):
    page.goto("/models?q=no-such-model-v9")
    page.get_by_role("link", name="Ask us for no-such-model-v9").click()
    field = page.get_by_role("textbox", name="Model")
    expect(field).to_have_value("no-such-model-v9")
    page.get_by_role("button", name="Ask for it").click()
    expect(page.get_by_role("status")).to_contain_text("We counted your request")
    expect(page).to_have_url(re.compile("/ask\\?asked=no-such-model-v9$"))


def test_a_phone_sorts_without_heads(page: Page):
    page.set_viewport_size(WIDE)
    page.goto("/models")
    control = page.locator(".sort-by")
    expect(control).to_be_hidden()
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.get_by_role("columnheader", name="Retrieval")).to_be_hidden()
    control.get_by_text("Sort by: Live first").click()
    control.get_by_role("link", name="Retrieval").click()
    expect(page).to_have_url(re.compile("/models\\?sort=retrieval$"))
    scores = [
        float(text.split()[-1])
        for text in page.locator('.models td[data-label="Retrieval"]:not(.none)').all_inner_texts()
    ]
    assert len(scores) > 10
    assert scores == sorted(scores, reverse=True)
    control.get_by_text("Sort by: Retrieval").click()
    current = control.get_by_role("link", name="Retrieval")
    expect(current).to_have_attribute("aria-current", "true")
    current.click()
    expect(page).to_have_url(re.compile("sort=-retrieval$"))
    control.get_by_text("Sort by: Retrieval").click()
    control.get_by_role("link", name="Live first").click()
    expect(page).to_have_url(re.compile("/models$"))
    box = page.locator("html").bounding_box()
    assert box
    assert box["width"] <= 390


def test_a_phone_filters_and_reads_everything(page: Page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/models")
    page.get_by_text("Filters", exact=True).click()
    page.get_by_label("License").select_option("MIT")
    page.get_by_role("main").get_by_role("button", name="Search").click()
    expect(page).to_have_url(re.compile("license=MIT"))
    row = (
        page.get_by_role("listitem")
        .or_(page.locator(".models tbody tr"))
        .filter(has_text="stella_en_400M_v5")
    )
    expect(row.last).to_contain_text("MIT")
    for path in ("/models", "/compare", "/calculator", "/ask", "/"):
        page.goto(path)
        box = page.locator("html").bounding_box()
        assert box
        assert box["width"] <= 390, path


def test_tables_show_every_column(page: Page):
    for width, path in product(
        (768, 1024, 1280), ("/", "/models", f"/models/{MINILM}", "/calculator")
    ):
        page.set_viewport_size({"width": width, "height": 1024})
        page.goto(path)
        tables = page.locator(".table-scroll")
        expect(tables.first).to_be_visible()
        hidden = tables.evaluate_all("all => all.map(one => one.scrollWidth - one.clientWidth)")
        assert max(hidden) <= 0, (width, path)
