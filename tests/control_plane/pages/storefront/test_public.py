"""The public pages: what stands on them, for people, search engines and browsers."""

import hashlib
import json
import re
from html import unescape
from xml.etree import ElementTree as ET

import pytest

from gateway.app.process import Process
from gateway.control_plane.catalog import cards, catalog, content
from gateway.control_plane.pages.docs.manual import PAGES
from gateway.control_plane.web import assets
from gateway.control_plane.web.formats import contact
from testing.browsing import Browser, sign_in
from tests.control_plane.conftest import MINILM, STELLA

PUBLIC = ["/", "/models", "/compare", "/calculator", "/status", "/docs", f"/models/{STELLA}"]


def test_every_reviewed_model_has_a_page_and_every_link_between_them_leads_somewhere():
    words = content.reviewed()
    known = {model.id for model in cards.reviewed()}
    assert set(words) == known
    assert {related.id for page in words.values() for related in page.related} <= known


async def test_the_model_page_says_what_the_document_says(browser: Browser):
    page = (await browser.get(f"/models/{STELLA}")).text
    for fact in [
        "Stella EN 400M V5", "Coming soon", STELLA, "https://huggingface.co/" + STELLA,
        "Jul 2024", "Jul 2025", "MIT", "~$0.008", "1M tokens",
        "Estimated; the price is set at launch", "400M", "gte-large-en-v1.5", "512 tokens",
        "1024 default", "512 derived", "s2p_query", "s2s_query", "English",
        "About this model", "Best for", "Questions", "Related models", "Compare all",
        "curl", "Python", "JavaScript",
    ]:  # fmt: skip
        assert fact in page, fact
    for undated in ("69.4K", "Downloads", "API providers"):
        assert undated not in page
    assert page.count("<details") == 6


async def test_public_pages_have_what_sharing_and_search_need(browser: Browser):
    for path in [*PUBLIC, *(f"/docs/{slug}" for slug in PAGES)]:
        answer = await browser.get(path)
        assert answer.status_code == 200, path
        assert len(re.findall(r"<h1", answer.text)) == 1, path
        for needed in ['rel="canonical"', 'property="og:title"', 'og:image"', 'lang="en"']:
            assert needed in answer.text, (path, needed)
    image = re.search(r'og:image" content="http://127.0.0.1:8080([^"]+)"', answer.text)
    assert image
    assert (await browser.get(image[1])).headers["content-type"] == "image/png"


@pytest.mark.parametrize("options", [{"support": "help@gateway.example"}])
async def test_whoever_runs_it_can_be_found(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    assert '<a href="mailto:help@gateway.example">Contact us</a> for more' in browser.page.text
    footer = (await browser.get("/nothing-here")).text.partition("<footer")[2]
    assert '<a href="mailto:help@gateway.example">help@gateway.example</a>' in footer
    assert contact("https://gateway.example/help@home") == "https://gateway.example/help@home"


async def test_an_address_of_nothing_leads_those_signed_in_to_their_console(
    gateway: Process, browser: Browser
):
    assert "Sign in</a>" in (await browser.get("/nothing")).text
    await sign_in(browser, gateway, "ada@example.org")
    page = (await browser.get("/nothing")).text
    assert "Sign in</a>" not in page
    assert '<a href="/console">Console</a>' in page


async def test_head_is_get_without_the_body(browser: Browser):
    for path in [*PUBLIC, "/health/live", "/v1/models", "/nothing", "/vote"]:
        got, head = await browser.get(path), await browser.http.head(path)
        assert head.status_code == got.status_code, path
        assert head.content == b""
        assert head.headers["content-type"] == got.headers["content-type"]
        if got.status_code == 200:
            assert int(head.headers["content-length"]) == len(got.content)


async def test_structured_data_is_json_that_describes_the_model(browser: Browser):
    page = (await browser.get(f"/models/{STELLA}")).text
    blocks = re.findall(r'<script type="application/ld\+json">(.*?)</script>', page, re.DOTALL)
    kinds = {item["@type"]: item for item in map(json.loads, blocks)}
    assert kinds["SoftwareApplication"]["offers"]["price"] == "0.008"
    assert kinds["SoftwareApplication"]["offers"]["availability"].endswith("PreOrder")
    assert len(kinds["FAQPage"]["mainEntity"]) == 5
    assert [i["name"] for i in kinds["BreadcrumbList"]["itemListElement"]][:2] == [
        "Models", "NovaSearch",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("nanos", "price"), [(2 * 10**9, "2"), (0, "0"), (1, "0.000000001"), (10**10, "10")]
)
async def test_structured_data_has_prices_that_are_numbers(
    gateway: Process, browser: Browser, nanos: int, price: str
):
    async with gateway.core.database.write() as connection:
        await catalog.set_price(connection, STELLA, nanos)
    await gateway.core.catalog.refresh()
    assert f'"price": "{price}"' in (await browser.get(f"/models/{STELLA}")).text


async def test_what_anybody_sees_may_come_back_and_what_is_somebodys_may_not(
    gateway: Process, browser: Browser
):
    public = await browser.get("/calculator")
    assert public.headers["cache-control"] == "private, no-cache"
    await sign_in(browser, gateway, "ada@example.org")
    assert browser.page.headers["cache-control"] == "private, no-store"
    own = await browser.get("/calculator")
    assert own.headers["cache-control"] == "private, no-store"


async def test_no_page_runs_a_script_that_is_not_a_file_of_ours(browser: Browser):
    for path in [*PUBLIC, "/nothing-here"]:
        answer = await browser.get(path)
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        inline = re.findall(r"<script(?![^>]*(?:src=|ld\+json))[^>]*>", answer.text)
        assert not inline
        assert not re.search(r'\s(?:style|on\w+)="', answer.text)


def test_htmx_is_the_file_that_was_reviewed(monkeypatch: pytest.MonkeyPatch):
    assert hashlib.sha256(assets.read_htmx()).hexdigest() == assets.HTMX_SHA256
    monkeypatch.setattr(assets, "HTMX_SHA256", "0" * 64)
    with pytest.raises(assets.TamperedAsset):
        assets.read_htmx()


async def test_assets_are_named_after_their_content_and_kept_for_ever(browser: Browser):
    page = (await browser.get("/")).text
    for url in re.findall(r'(?:href|src)="(/static/[^"]+)"', page):
        answer = await browser.get(url)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert hashlib.sha256(answer.content).hexdigest()[:12] in url
    assert (await browser.get("/static/site-000000000000.css")).status_code == 404


async def test_filters_narrow_the_list(browser: Browser):
    async def found(query: str) -> set[str]:
        page = (await browser.get(f"/models?{query}")).text
        return {name for name in (STELLA, MINILM) if f'href="/models/{name}"' in page}

    assert MINILM in await found("")  # the live one is on the first page
    assert await found("q=stella+400m+retrieval") == {STELLA}
    assert await found("state=live") == {MINILM}
    assert await found("dimensions=512") == {STELLA}
    assert await found("q=no+such+thing") == set()
    assert "No model matches" in browser.page.text


async def test_an_address_says_only_what_was_asked(browser: Browser):
    typed = "/models?q=stella&state=&task=&dimensions=&license=&tokens=&price=&sort="
    answer = await browser.http.get(typed, follow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["location"] == "/models?q=stella"
    assert (await browser.get("/models?q=")).url.raw_path == b"/models"
    # what is blank says nothing either: else it would lead to itself for good
    for blank in ("state", "task", "sort", "tokens", "dimensions", "license"):
        answer = await browser.http.get(f"/models?q=stella&{blank}=+", follow_redirects=False)
        assert answer.headers["location"] == "/models?q=stella", blank
    part = await browser.http.get(typed, headers={"hx-request": "true"})
    assert part.status_code == 200
    assert part.headers["hx-replace-url"] == "/models?q=stella"


async def test_a_length_of_thousands_of_digits_is_no_length(browser: Browser):
    for digits in ("9" * 5_000, "²", "-1", "x"):
        answer = await browser.get("/models", params={"dimensions": digits})
        assert answer.status_code in (200, 400), digits[:9]


async def test_search_terms_are_text_and_never_markup(browser: Browser):
    page = (await browser.get("/models", params={"q": '"><script>alert(1)</script>'})).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


async def test_sitemap_and_robots_name_pages_that_exist(browser: Browser):
    robots = (await browser.get("/robots.txt")).text
    assert "Sitemap: http://127.0.0.1:8080/sitemap.xml" in robots
    assert "Disallow: /console" in robots
    tree = ET.fromstring((await browser.get("/sitemap.xml")).content)
    locations = [element.text or "" for element in tree.iter() if element.tag.endswith("loc")]
    assert f"http://127.0.0.1:8080/models/{STELLA}" in locations
    for location in locations:
        assert (await browser.get(location)).status_code == 200, location


async def test_errors_are_pages_for_people_and_envelopes_for_programs(browser: Browser):
    page = await browser.get("/nothing-here")
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert "Nothing here" in page.text
    envelope = await browser.get("/v1/nothing-here")
    assert envelope.json()["error"]["code"] == "not_found"
    assert (await browser.http.post("/models")).status_code == 405


async def test_the_data_plane_sets_no_cookies(browser: Browser):
    for path in ("/v1/models", "/health/live", "/metrics", "/openapi.json"):
        assert "set-cookie" not in (await browser.get(path)).headers


async def test_the_type_of_a_page_is_said_once(browser: Browser):
    for path in ("/", "/nothing-here"):
        answer = await browser.get(path)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"


async def test_the_model_page_says_what_one_asks_before_paying(browser: Browser):
    for model, tokens, state in [(STELLA, 24, "~"), (MINILM, 5, "")]:
        page = (await browser.get(f"/models/{model}")).text
        text = unescape(re.sub(r"<[^>]+>", "", page))
        assert f"{state}$0.004 with service_tier: flex" in text
        assert "2,048 inputs, 300,000 tokens" in text
        assert "512 requests" in text
        assert "Not your inputs, and not their vectors" in text
        assert f'"prompt_tokens": {tokens}' in text
        assert f"x-cost-nanos: {tokens * 8}" in text
        assert ("ONNX Runtime, CPU" in text) == (model == MINILM)


async def test_an_error_leads_somewhere(browser: Browser):
    page = (await browser.get("/nothing-here")).text
    for path in ("/models", "/docs"):
        assert f'<a class="button" href="{path}"' in page

    async def back(referer: str, path: str = "/nothing-here") -> str | None:
        answer = await browser.get(path, headers={"referer": referer})
        found = re.search(r'<a class="button[^"]*" href="([^"]+)">Back', answer.text)
        return unescape(found[1]) if found else None

    ours = str(browser.http.base_url).rstrip("/")
    assert await back(f"{ours}/models?q=a&state=live") == "/models?q=a&state=live"
    assert await back(f"{ours}/nothing-here") is None
    for elsewhere in ("https://example.org/models", f"{ours}//example.org", "", "http://[", "x"):
        assert await back(elsewhere) is None


async def test_the_favicon_answers_where_everybody_asks(browser: Browser):
    answer = await browser.get("/favicon.ico")
    assert answer.status_code in (200, 302)
    found = answer if answer.status_code == 200 else await browser.get(answer.headers["location"])
    assert found.headers["content-type"] == "image/svg+xml"


async def test_home_says_what_an_account_starts_with(browser: Browser):
    assert "$0.25 of free credit for 30 days: about 31.2M tokens" in (await browser.get("/")).text


def test_what_frames_a_field_is_seen():
    """WCAG 1.4.11: 3 to 1 between the border of a field and what is around and inside of it."""
    css = (assets._FOLDER / "site.css").read_text()
    both = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);", css)
    for colours in ({name: at[scheme] for name, *at in both} for scheme in (0, 1)):
        for beside in ("bg", "surface"):
            assert contrast(colours["field"], colours[beside]) >= 3
    assert css.count("border: 1px solid var(--field)") == 2  # fields, and cards to choose from


def contrast(one: str, two: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


async def test_header_and_footer_lead_somewhere(browser: Browser):
    page = (await browser.get("/")).text
    around = page.partition("<main")[0] + page.rpartition("</main>")[2]
    links = set(re.findall(r'<a[^>]* href="(/[^"#]*)"', around))
    assert {"/models", "/calculator", "/playground", "/docs", "/status", "/sign-in"} <= links
    answers = {link: (await browser.get(link)).status_code for link in sorted(links)}
    assert {link for link, status in answers.items() if status != 200} == set()
