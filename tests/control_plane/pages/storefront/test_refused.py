"""The storefront's forms, refused: on their own page, with what was typed and why."""

import pytest
from sqlalchemy import select

from gateway.app.process import Process
from gateway.control_plane.catalog import cards
from gateway.control_plane.pages.storefront import trials
from gateway.storage.tables import demand_votes
from testing import marketplace
from testing.browsing import Browser, field, mailed_link, sign_in
from tests.control_plane.conftest import MINILM, STELLA, rows
from tests.control_plane.pages.conftest import PATH, QUERIES_MAX, Fields, counted


@pytest.mark.parametrize(
    ("wrong", "blamed", "message"),
    [
        ({"volume": "lots"}, "volume", "a whole number"),
        ({"volume": "9" * 12}, "volume", "up to a billion"),
        ({"price": "0,01"}, "price", "is not an amount"),
        ({"price": "9007200"}, "price", "is too much"),
        ({"use_case": "x" * 501}, "use_case", "at most 500"),
    ],
)
async def test_a_vote(
    gateway: Process, browser: Browser, wrong: dict[str, str], blamed: str, message: str
):
    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    said = {"volume": "1,250", "price": "0.01", "use_case": '<b>"search"</b>\nin mails'} | wrong
    with counted(gateway) as statements:
        page = await browser.submit("/vote", model=STELLA, **said)
    assert len(statements) <= QUERIES_MAX
    assert page.status_code == 400
    found = Fields(page)
    assert {name: found.values[name] for name in said} == said
    assert found.blamed() == blamed
    assert message in found.said()
    assert '<details class="more" open' in page.text
    assert await rows(gateway, select(demand_votes)) == []
    right = {"volume": "1,250", "price": "0.01", "use_case": "x"}
    assert (await browser.submit("/vote", model=STELLA, **right)).url.path == PATH


async def test_lines_of_a_use_case_count_as_they_were_typed(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    typed = "x\n" * 250  # what a browser lets in, and sends with two characters for each end
    await browser.submit("/vote", model=STELLA, use_case=typed.replace("\n", "\r\n"))
    (vote,) = await rows(gateway, select(demand_votes))
    assert vote.use_case == typed.strip()


@pytest.mark.parametrize("options", [{"votes_per_hour": 1}])
async def test_a_vote_too_often(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    await browser.submit("/vote", model=STELLA, use_case="first")
    page = await browser.submit("/vote", model=STELLA, use_case="second thoughts")
    assert page.status_code == 429
    assert int(page.headers["retry-after"]) > 0
    found = Fields(page)
    assert found.values["use_case"] == "second thoughts"
    assert "Too many requests" in found.said()
    page = await browser.submit("/waitlist", model=STELLA)
    assert page.status_code == 429
    assert "Too many requests" in Fields(page).said()


async def test_the_waitlist(browser: Browser):
    await browser.get(PATH)
    page = await browser.submit("/waitlist", model=STELLA, email="ada@nowhere")
    assert page.status_code == 400
    found = Fields(page)
    assert found.values["email"] == "ada@nowhere"
    assert found.blamed() == "email"
    assert "not a valid email address" in found.said()
    assert f'href="/sign-in?next={PATH}"' in page.text  # and not where the form was sent
    assert f'rel="canonical" href="http://127.0.0.1:8080{PATH}"' in page.text
    page = await browser.submit("/waitlist", model=STELLA, email="ada@example.org")
    assert "One more step" in page.text


async def test_the_button_of_a_waitlists_link(gateway: Process, browser: Browser):
    await browser.get(PATH)
    await browser.submit("/waitlist", model=STELLA, email="ada@example.org")
    await browser.get(await mailed_link(gateway, "ada@example.org"))
    page = await browser.submit("/waitlist/confirm", token=field(browser.page.text, "token") + "x")
    assert page.status_code == 400
    assert "This link no longer works" in page.text
    assert "on the model&#39;s page" in page.text


@pytest.mark.parametrize(
    ("wrong", "blamed", "status"),
    [
        ({"texts_month": "a lot"}, "texts_month", 400),
        ({"text": "x" * 20_001}, "text", 400),
        ({"model": "no/such"}, "", 404),
    ],
)
async def test_the_calculator(browser: Browser, wrong: dict[str, str], blamed: str, status: int):
    await browser.get("/calculator")
    typed = {"model": STELLA, "text": "a text of mine", "texts_month": "1,000"} | wrong
    page = await browser.submit("/calculator", **typed)
    assert page.status_code == status
    found = Fields(page)
    assert (found.values["text"], found.values["texts_month"]) == (
        typed["text"],
        typed["texts_month"],
    )
    assert found.said()
    if blamed:  # a name of a model is chosen here, and typed in a larger catalogue
        assert found.blamed() == blamed


async def test_a_name_of_a_model_is_typed_in_a_large_catalogue(gateway: Process, browser: Browser):
    await marketplace.fill_catalog(gateway.core.database, 130)
    await gateway.core.catalog.refresh()
    await browser.get("/calculator")
    page = await browser.submit("/calculator", model="stella", text="hi", texts_month="1")
    assert page.status_code == 404
    found = Fields(page)
    assert found.values == {"model": "stella", "text": "hi", "texts_month": "1"}
    assert found.blamed() == "model"

    page = await browser.get(f"/compare?model={STELLA}&model=no/such")
    assert page.status_code == 404
    found = Fields(page)
    assert found.values["model"] == "no/such"
    assert found.blamed() == "model"
    columns = page.text.count('<th scope="col">')
    assert columns == 1, "the one model that is known"


async def test_a_filter(browser: Browser):
    page = await browser.get("/models?q=minilm-l6&price=cheap")
    assert page.status_code == 400
    found = Fields(page)
    assert found.values == {"q": "minilm-l6", "price": "cheap"}
    assert found.blamed() == "price"
    assert f"1 of {len(cards.reviewed())} models" in page.text  # what fits the rest


async def test_sentences(browser: Browser, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trials, "_HOLD_SECONDS", 0.0)
    await browser.get(f"/playground/{MINILM}")
    page = await browser.submit(f"/playground/{MINILM}", sentences="only one")
    assert page.status_code == 400
    found = Fields(page)
    assert found.values == {"sentences": "only one"}
    assert found.blamed() == "sentences"
    page = await browser.submit(f"/playground/{MINILM}", sentences="two\r\nof them")
    assert page.status_code == 503  # no worker is here
    assert Fields(page).values["sentences"].split() == ["two", "of", "them"]
    assert "retry-after" in page.headers
    assert Fields(page).said()
