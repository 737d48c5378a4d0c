"""Light or dark, as a visitor chose."""

import pytest

from testing.browsing import Browser


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_a_choice_is_kept_and_taken_back(browser: Browser, theme: str):
    assert "data-theme" not in (await browser.get("/docs")).text
    browser.http.headers["referer"] = "http://127.0.0.1:8080/docs"
    page = await browser.submit("/theme", theme=theme)
    assert page.url.path == "/docs"
    assert f'<html lang="en" data-theme="{theme}">' in page.text
    assert f'value="{theme}" aria-pressed="true"' in page.text
    assert "data-theme" not in (await browser.submit("/theme", theme="")).text


async def test_what_is_no_theme_changes_nothing(browser: Browser):
    page = await browser.get("/", headers={"cookie": 'theme="dark onload=1"'})
    assert "data-theme" not in page.text
    assert "data-theme" not in (await browser.submit("/theme", theme="pink")).text
